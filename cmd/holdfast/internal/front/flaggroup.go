package front

import (
	"slices"

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
	PodFlags        FlagGroup = "Pods"
	KubernetesFlags FlagGroup = "Kubernetes"
	StateFlags      FlagGroup = "State"
	ListenFlags     FlagGroup = "Listening"
	FaultFlags      FlagGroup = "Injected faults"
	OutputFlags     FlagGroup = "Output"
)

var flagGroups = []FlagGroup{
	ConfigFlags, KeyFlags, NameFlags, SessionFlags, AssumeFlags, ServiceFlags, CredentialFlags, RenewalFlags, AgentFlags, PodFlags, KubernetesFlags, ListenFlags, StateFlags, FaultFlags, OutputFlags,
}

// Define calls define with an empty flag set and adds its flags to fs under the
// heading g.
func (g FlagGroup) Define(fs *pflag.FlagSet, define func(*pflag.FlagSet)) {
	group := pflag.NewFlagSet(string(g), pflag.ContinueOnError)
	group.SortFlags = false // keep related flags together
	define(group)
	only := map[string][]string{groupAnnotation: {string(g)}} // a map for each flag takes 16 KiB
	group.VisitAll(func(f *pflag.Flag) {
		if f.Annotations == nil {
			f.Annotations = only
		} else {
			annotate(f, groupAnnotation, only[groupAnnotation])
		}
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

// FlagValues returns the values that shells offer for a flag.
func FlagValues(f *pflag.Flag) []string {
	if values := f.Annotations[flagValues]; values != nil {
		return values
	}
	return f.Annotations[optionalValues]
}

// RefuseEmpty makes an empty text an error. It is for flags that restrict what is
// accepted: without such a flag, because a variable is not set, more would be accepted.
func RefuseEmpty(fs *pflag.FlagSet, names ...string) {
	for _, name := range names {
		annotate(fs.Lookup(name), refuseEmpty, nil)
	}
}

// A FlagSection is a heading of the help and the flags below it.
type FlagSection struct {
	Title string
	Flags []*pflag.Flag
}

// FlagSections returns the visible flags of fs in the order of the help. Flags without
// a group are at the end.
func FlagSections(fs *pflag.FlagSet) (sections []FlagSection) {
	byGroup := make(map[FlagGroup][]*pflag.Flag)
	fs.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			byGroup[groupOf(f)] = append(byGroup[groupOf(f)], f)
		}
	})
	for _, g := range append(slices.Clone(flagGroups), "") {
		title := string(g)
		if g == "" {
			title = "Flags"
			if len(byGroup) > 1 {
				title = "Other flags"
			}
		}
		if flags := byGroup[g]; len(flags) > 0 {
			sections = append(sections, FlagSection{title, flags})
		}
	}
	return sections
}

// DescribeFlag returns the name of the value of a flag, or "" if it has none, and the
// description of the flag with its default.
func DescribeFlag(f *pflag.Flag) (value, text string) {
	value, text = pflag.UnquoteUsage(f)
	if !slices.Contains([]string{"", "0", "0s", "false", "[]"}, f.DefValue) {
		text += " (default: " + f.DefValue + ")"
	}
	return value, text
}
