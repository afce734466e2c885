package front

import (
	"slices"
	"testing"

	"github.com/spf13/pflag"
)

// The first value replaces the default, and a value is a single element whatever it contains.
func TestListVar(t *testing.T) {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	values, empty := []string{"default"}, []string(nil)
	ListVar(fs, &values, "list", "")
	ListVar(fs, &empty, "empty", "")
	for _, args := range [][]string{{"--list", "a,b"}, {"--list=c", "--list="}} {
		if err := fs.Parse(args); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"a,b", "c", ""}; !slices.Equal(values, want) || empty != nil {
		t.Errorf("%q and %q, want %q and none", values, empty, want)
	}
}
