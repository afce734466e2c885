package front

import (
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A FlagGroup is the heading of a group of flags in the help.
type FlagGroup string

// The headings, in the order of the help.
const (
	ConfigFlags     FlagGroup = "Configuration"
	KeyFlags        FlagGroup = "Key and certificate"
	NameFlags       FlagGroup = "Names in the certificate"
	SessionFlags    FlagGroup = "Session"
	AssumeFlags     FlagGroup = "Second role"
	ServiceFlags    FlagGroup = "Connection to the service"
	CredentialFlags FlagGroup = "Credentials"
	RenewalFlags    FlagGroup = "Renewal"
	AgentFlags      FlagGroup = "Use of the keys"
	ListenFlags     FlagGroup = "Listening"
	FaultFlags      FlagGroup = "Injected faults"
	OutputFlags     FlagGroup = "Output"
)

var flagGroups = []FlagGroup{
	ConfigFlags, KeyFlags, NameFlags, SessionFlags, AssumeFlags, ServiceFlags, CredentialFlags, RenewalFlags, AgentFlags, ListenFlags, FaultFlags, OutputFlags,
}

// Define calls define with an empty flag set and adds its flags to fs under the
// heading g.
func (g FlagGroup) Define(fs *pflag.FlagSet, define func(*pflag.FlagSet)) {
	group := pflag.NewFlagSet(string(g), pflag.ContinueOnError)
	group.SortFlags = false // keep related flags together
	define(group)
	group.VisitAll(func(f *pflag.Flag) {
		annotate(f, groupAnnotation, []string{string(g)})
		fs.AddFlag(f)
	})
}

// groupOf returns the group of a flag, or "" if it has none.
func groupOf(f *pflag.Flag) FlagGroup {
	if names := f.Annotations[groupAnnotation]; len(names) > 0 {
		return FlagGroup(names[0])
	}
	return ""
}

// MarkValues sets the values that shells offer for a flag. A value that ends in
// ":" or "=" is a prefix.
func MarkValues(f *pflag.Flag, values ...string) { annotate(f, flagValues, values) }

// RefuseEmpty makes an empty text an error. It is for flags that restrict what is
// accepted: without such a flag, because a variable is not set, more would be accepted.
func RefuseEmpty(fs *pflag.FlagSet, names ...string) {
	for _, name := range names {
		annotate(fs.Lookup(name), refuseEmpty, nil)
	}
}

// pathNames are the value names in help texts whose values can be paths.
var pathNames = []string{"file", "reference", "source", "selector"}

// completeFlags registers the completion of the flag values of cmd: the marked
// values, or files if the value can be a path, or nothing.
func completeFlags(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		values := f.Annotations[flagValues]
		if values == nil {
			values = f.Annotations[optionalValues]
		}
		directive := cobra.ShellCompDirectiveNoFileComp
		name, _ := pflag.UnquoteUsage(f)
		switch {
		case slices.ContainsFunc(values, isPrefix):
			directive |= cobra.ShellCompDirectiveNoSpace
		case values == nil && slices.Contains(pathNames, name):
			directive = cobra.ShellCompDirectiveDefault
		}
		if err := cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(values, directive)); err != nil {
			panic(err) // fails only for unknown and already registered flags
		}
	})
}

func isPrefix(value string) bool {
	last := value[len(value)-1]
	return last == ':' || last == '='
}
