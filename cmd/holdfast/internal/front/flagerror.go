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

// MarkSecret has errors not show arguments beside a flag whose value is secret:
// they may be the second half of it.
func MarkSecret(f *pflag.Flag) { annotate(f, secretFlag, nil) }

// MarkOptionalValue says that a flag may stand without a value, and then means
// none. One of values after it as an argument is met with a hint.
func MarkOptionalValue(f *pflag.Flag, none string, values ...string) {
	f.NoOptDefVal = none
	annotate(f, optionalValues, values)
}

func annotate(f *pflag.Flag, name string, values []string) {
	if f.Annotations == nil {
		f.Annotations = make(map[string][]string)
	}
	f.Annotations[name] = values
}

// flagError says what a flag wants where its parser speaks of Go.
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
