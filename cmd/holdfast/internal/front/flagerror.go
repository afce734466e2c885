package front

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Annotations of flags.
const (
	optionalValues  = "holdfast_optional_values"
	dropped         = "holdfast_dropped" // it was given as an empty text
	refuseEmpty     = "holdfast_refuse_empty"
	flagValues      = "holdfast_values"
	groupAnnotation = "holdfast_group"
)

// isAboutSecret reports whether a flag concerns PINs or passwords, by its name. A
// value that it does not accept may be a secret.
func isAboutSecret(f *pflag.Flag) bool {
	return slices.ContainsFunc(strings.Split(f.Name, "-"), func(word string) bool {
		return word == "pin" || word == "password" || word == "secret"
	})
}

// MarkOptionalValue makes the value of a flag optional. Without a value, the
// flag has the value implied. If one of values follows the flag as a separate
// argument, the hint of the error shows the form --name=value.
func MarkOptionalValue(f *pflag.Flag, implied string, values ...string) {
	f.NoOptDefVal = implied
	annotate(f, optionalValues, values)
}

// annotate adds an annotation to a flag, to no other flag of its group.
func annotate(f *pflag.Flag, name string, values []string) {
	own := make(map[string][]string)
	maps.Copy(own, f.Annotations) // the flags of a group can share them
	own[name] = values
	f.Annotations = own
}

// flagError replaces the errors of package pflag, some of which name Go functions
// or quote secrets.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var syntax *pflag.InvalidSyntaxError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		return unknownFlag(cmd, unknown)
	case errors.As(err, &missing):
		return fmt.Errorf("--%s needs a value", missing.GetFlag().Name)
	case errors.As(err, &syntax):
		return fmt.Errorf("argument %q is not a flag", keystore.Excerpt(syntax.GetSpecifiedFlag()))
	case errors.As(err, &invalid):
		return invalidValue(invalid.GetFlag(), invalid.GetValue())
	}
	return err
}

func invalidValue(f *pflag.Flag, value string) error {
	quoted := fmt.Sprintf(" %q", keystore.Excerpt(value))
	if isAboutSecret(f) {
		quoted = ""
	}
	err := fmt.Errorf("--%s%s: must be %s", f.Name, quoted, cmp.Or(valueForms.Get(f.Value.Type()), "a "+f.Value.Type()))
	_, usage := pflag.UnquoteUsage(f)
	return signer.WithHint(err, "--"+f.Name+": "+usage)
}

// unknownFlag returns the error for a flag that cmd does not have, with the name
// of a similar flag. It quotes no value.
func unknownFlag(cmd *cobra.Command, e *pflag.NotExistError) error {
	name, shown := e.GetSpecifiedName(), "--"+keystore.Excerpt(e.GetSpecifiedName())
	if group := e.GetSpecifiedShortnames(); group != "" {
		name, _, _ = strings.Cut(group, "=") // -name is meant, but pflag reads -n -a -m -e
		shown = "-" + group[:1]              // a secret may follow, as in -pSECRET
	}
	err := fmt.Errorf("unknown flag: %s", shown)
	if name == "version" || shown == "-v" || shown == "-V" {
		return signer.WithHint(err, "to print the version, run holdfast --version")
	}
	if _, program, ok := strings.Cut(cmd.Use, "-- "); ok && cmd.Flags().NArg() > 0 {
		program, _, _ = strings.Cut(program, " ")
		return signer.WithHint(err, "write "+program+" and its arguments after --, as in "+cmd.CommandPath()+" … -- "+program)
	}
	for _, f := range foreignFlags {
		if target, _, _ := strings.Cut(f[1], " "); f[0] == name && cmd.Flags().Lookup(target) != nil {
			return signer.WithHint(err, "did you mean --"+f[1]+"?")
		}
	}
	if similar := similarFlag(cmd, name); similar != "" {
		return signer.WithHint(err, "did you mean --"+similar+"?")
	}
	version := cmd.Flags().Changed("version") // holdfast --version --json means holdfast version --json
	for _, c := range cmd.Commands() {
		if cmd.HasParent() || c.Flags().Lookup(name) == nil || version && c.Name() != "version" {
			continue
		}
		return signer.WithHint(err, "write the command before its flags, as in holdfast "+c.Name()+" --"+name)
	}
	return err
}

// foreignFlags are flags of other programs for certificates, with what they are
// here.
var foreignFlags = [][2]string{
	{"days", "lifetime 30d"}, {"validity", "lifetime 30d"}, {"not-after", "lifetime 30d"},
	{"cn", "subject CN=NAME"}, {"subj", "subject CN=NAME"}, {"san", "dns NAME"},
}

// similarFlag returns the name of a flag of cmd that is similar to name, or "".
func similarFlag(cmd *cobra.Command, name string) string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return Similar(name, names...)
}

// Similar returns the one of names that is similar to name, or "".
func Similar(name string, names ...string) string {
	const shortest = 3 // shorter names are similar to everything
	if len(name) < shortest {
		return ""
	}
	all := &cobra.Command{SuggestionsMinimumDistance: min(len(name)-shortest+1, 2)}
	for _, n := range names {
		all.AddCommand(&cobra.Command{Use: n, Run: func(*cobra.Command, []string) {}})
	}
	similar := all.SuggestionsFor(name)
	if len(similar) == 0 {
		return ""
	}
	return similar[max(0, slices.Index(similar, name))]
}

var valueForms = lookup.Table[string, string]{
	{"bool", "true or false"},
	{"int", "a whole number"},
	{"float64", "a number"},
	{"duration", "a duration such as 300ms or 9s"},
}
