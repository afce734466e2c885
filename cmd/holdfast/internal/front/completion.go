package front

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/internal/await"
)

// An Offer completes the values of a kind of flag with what is on this machine. One of
// Flag and Value is set.
type Offer struct {
	Flag  string // name of the flag
	Value string // name of the value of the flag in the help

	// Texts returns the values of flag that begin with typed. A tab separates a value
	// from its description. The other flags of the command line are in fs. Texts
	// never asks a person for anything and prints nothing; what it does not return
	// within offerTimeout, or before ctx ends, is not offered.
	Texts func(ctx context.Context, a App, fs *pflag.FlagSet, flag, typed string) []string
}

// offerTimeout is how long a person who has pressed Tab waits for a device.
const offerTimeout = time.Second

// pathNames are the value names in help texts whose values can be files.
var pathNames = []string{"file", "reference", "source", "selector", "program"}

// pathPrefixes precede a path in a value.
var pathPrefixes = []string{"file:", "tpm:path="}

// completeFlags registers the completion of the flag values of cmd: the marked
// values, what is on this machine, or files and folders if the value can be a path.
func (a App) completeFlags(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		value, _ := pflag.UnquoteUsage(f) // before its quotes are removed
		complete := func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return a.complete(cmd, f, value, typed)
		}
		if err := cmd.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
			panic(err) // fails only for unknown and already registered flags
		}
	})
}

// complete completes what is typed of the value of f. The help calls the value name.
func (a App) complete(cmd *cobra.Command, f *pflag.Flag, name, typed string) ([]string, cobra.ShellCompDirective) {
	values := FlagValues(f)
	isPath := values == nil && slices.Contains(pathNames, name)
	switch {
	case f.Name == "config":
		return []string{"toml"}, cobra.ShellCompDirectiveFilterFileExt
	case name == "folder":
		return nil, cobra.ShellCompDirectiveFilterDirs
	case isPath || values != nil:
		for _, prefix := range pathPrefixes {
			if path, ok := strings.CutPrefix(typed, prefix); ok && (isPath || slices.Contains(values, prefix)) {
				found := paths(prefix, path)
				if more := common(found, typed); more != "" {
					found = []string{more}
				}
				return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
			}
		}
	}
	for _, o := range a.Offers {
		if o.Flag == f.Name || o.Value == name && name != "" {
			values = a.offered(cmd.Context(), o, cmd.Flags(), f.Name, typed)
		}
	}
	given := make(map[string]bool) // of two equal values bash would insert their descriptions
	values = slices.DeleteFunc(slices.Clone(values), func(v string) bool {
		value, _, _ := strings.Cut(v, "\t")
		again := given[value]
		given[value] = true
		return again || !strings.HasPrefix(v, typed)
	})
	if isPath && (len(values) == 0 || len(paths("", typed)) > 0) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	directive := cobra.ShellCompDirectiveNoFileComp
	if more := common(values, typed); more != "" {
		values = []string{more}
		directive |= cobra.ShellCompDirectiveNoSpace
	}
	if slices.ContainsFunc(values, isPrefix) {
		directive |= cobra.ShellCompDirectiveNoSpace
	}
	return values, directive
}

// offered returns the texts of o, or none if they take too long.
func (a App) offered(ctx context.Context, o Offer, fs *pflag.FlagSet, flag, typed string) []string {
	ctx, cancel := context.WithTimeout(ctx, offerTimeout)
	defer cancel()
	texts, _ := await.Result(ctx, func() ([]string, error) { return o.Texts(ctx, a, fs, flag, typed), nil }, nil)
	return texts
}

// shellSpecial are the characters that shells interpret. They are in references and in
// names of files, and "$(" begins a command. If several values begin alike, bash inserts
// their common beginning without quotes. Only a single value gets them, so the common
// beginning is offered first, alone.
const shellSpecial = " !\"#$&'()*;<>?[\\]^`{|}~"

// common returns the beginning that several values have in common, if it is longer than
// what is typed and shells interpret a part of it, and otherwise "".
func common(values []string, typed string) string {
	if more := commonPrefix(values); len(values) > 1 && strings.ContainsAny(more, shellSpecial) && more != typed {
		return more
	}
	return ""
}

// commonPrefix returns what all values begin with, without their descriptions.
func commonPrefix(values []string) (prefix string) {
	for i, v := range values {
		v, _, _ = strings.Cut(v, "\t")
		if i == 0 {
			prefix = v
		}
		for !strings.HasPrefix(v, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
	}
	return prefix
}

// paths returns the files whose names begin with path, each after prefix.
func paths(prefix, path string) (found []string) {
	dir, start := filepath.Split(path)
	files, _ := os.ReadDir(filepath.Clean(dir)) // a folder that cannot be read has no files
	for _, file := range files {
		name := file.Name()
		if !strings.HasPrefix(name, start) || start == "" && strings.HasPrefix(name, ".") || OneLine(name) != name {
			continue
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.IsDir() {
			name += string(filepath.Separator)
		}
		found = append(found, prefix+dir+name)
	}
	return found
}

// isPrefix reports whether more follows a value.
func isPrefix(value string) bool {
	value, _, _ = strings.Cut(value, "\t")
	return strings.HasSuffix(value, ":") || strings.HasSuffix(value, "=")
}
