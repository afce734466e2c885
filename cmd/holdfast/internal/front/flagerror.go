package front

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/signer"
)

// Annotations of flags.
const (
	secretFlag      = "holdfast_secret"
	optionalValues  = "holdfast_optional_values"
	flagValues      = "holdfast_values"
	groupAnnotation = "holdfast_group"
)

// MarkSecret marks a flag whose value is secret. If it is set, errors do not
// quote positional arguments, which may be the second half of a value with a
// space.
func MarkSecret(f *pflag.Flag) { annotate(f, secretFlag, nil) }

// MarkOptionalValue makes the value of a flag optional. Without a value, the
// flag has the value implied. If one of values follows the flag as a separate
// argument, the hint of the error shows the form --name=value.
func MarkOptionalValue(f *pflag.Flag, implied string, values ...string) {
	f.NoOptDefVal = implied
	annotate(f, optionalValues, values)
}

func annotate(f *pflag.Flag, name string, values []string) {
	if f.Annotations == nil {
		f.Annotations = make(map[string][]string)
	}
	f.Annotations[name] = values
}

// flagError replaces parse errors of flag values, which name Go functions, with
// a description of valid values.
func flagError(_ *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	f := invalid.GetFlag()
	err = fmt.Errorf("--%s %q: must be %s", f.Name, invalid.GetValue(),
		cmp.Or(valueForms[f.Value.Type()], "a "+f.Value.Type()))
	_, usage := pflag.UnquoteUsage(f)
	return signer.WithHint(err, "--"+f.Name+": "+usage)
}

var valueForms = map[string]string{
	"bool":     "true or false",
	"int":      "a whole number",
	"float64":  "a number",
	"duration": "a duration such as 300ms or 9s",
}
