package front

import (
	"strings"

	"github.com/spf13/pflag"
)

// ListVar defines a flag that can be repeated. The first value replaces those that values
// has before. The list of package pflag formats even an empty default with encoding/csv.
func ListVar(fs *pflag.FlagSet, values *[]string, name, usage string) {
	fs.Var(&list{values: values}, name, usage)
}

type list struct {
	values  *[]string
	changed bool
}

var _ pflag.SliceValue = (*list)(nil)

func (l *list) Set(s string) error {
	if !l.changed {
		*l.values, l.changed = nil, true
	}
	return l.Append(s)
}

func (l *list) Append(s string) error {
	*l.values = append(*l.values, s)
	return nil
}

func (l *list) Replace(values []string) error {
	*l.values = values
	return nil
}

func (l *list) GetSlice() []string { return *l.values }
func (l *list) String() string     { return "[" + strings.Join(*l.values, ",") + "]" }
func (l *list) Type() string       { return "stringArray" } // cobra offers such a flag again
