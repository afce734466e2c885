package front

import (
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A FlagGroup is a heading for flags in the help.
type FlagGroup string

// The groups of flags, in the order of the help.
const (
	ConfigFlags     FlagGroup = "Configuration"
	KeyFlags        FlagGroup = "Key and certificate"
	SessionFlags    FlagGroup = "Session"
	ServiceFlags    FlagGroup = "Connection to the service"
	CredentialFlags FlagGroup = "Credentials"
	ListenFlags     FlagGroup = "Listening"
	FaultFlags      FlagGroup = "Injected faults"
	OutputFlags     FlagGroup = "Output"
)

var flagGroups = []FlagGroup{
	ConfigFlags, KeyFlags, SessionFlags, ServiceFlags, CredentialFlags, ListenFlags, FaultFlags, OutputFlags,
}

// Define adds to fs the flags that define defines, under the heading g.
func (g FlagGroup) Define(fs *pflag.FlagSet, define func(*pflag.FlagSet)) {
	group := pflag.NewFlagSet(string(g), pflag.ContinueOnError)
	group.SortFlags = false // related flags stand together
	define(group)
	group.VisitAll(func(f *pflag.Flag) {
		annotate(f, groupAnnotation, []string{string(g)})
		fs.AddFlag(f)
	})
}

// groupOf returns the group of a flag, "" if it has none.
func groupOf(f *pflag.Flag) FlagGroup {
	if names := f.Annotations[groupAnnotation]; len(names) > 0 {
		return FlagGroup(names[0])
	}
	return ""
}

// MarkValues has shells offer values for a flag. One that ends in : or = is the
// beginning of a value.
func MarkValues(f *pflag.Flag, values ...string) { annotate(f, flagValues, values) }

// fileNames are the names of values in help texts that are paths, or may be.
var fileNames = []string{"file", "reference", "source", "selector"}

// completeFlags tells shells what the values of cmd's flags are: those that are
// marked, else files if a value may be one, else nothing.
func completeFlags(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		values := f.Annotations[flagValues]
		if values == nil {
			values = f.Annotations[optionalValues]
		}
		directive := cobra.ShellCompDirectiveNoFileComp
		name, _ := pflag.UnquoteUsage(f)
		switch {
		case slices.ContainsFunc(values, isBeginning):
			directive |= cobra.ShellCompDirectiveNoSpace
		case values == nil && slices.Contains(fileNames, name):
			directive = cobra.ShellCompDirectiveDefault
		}
		if err := cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(values, directive)); err != nil {
			panic(err) // the flag is there, and registered once
		}
	})
}

func isBeginning(value string) bool {
	last := value[len(value)-1]
	return last == ':' || last == '='
}
