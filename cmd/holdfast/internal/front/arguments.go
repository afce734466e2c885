package front

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// checkCommand returns an error if args name an unknown command. The flags of
// such a command are unknown, too, and package cobra would report them first.
func checkCommand(root *cobra.Command, args []string) error {
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		return nil
	}
	for cmd := root; cmd.HasAvailableSubCommands(); {
		i := firstWord(cmd, args)
		if i < 0 {
			return nil
		}
		named := slices.IndexFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == args[i] })
		if named < 0 {
			return noArgs(cmd, args[i:])
		}
		cmd, args = cmd.Commands()[named], args[i+1:]
		if cmd.Name() == "help" {
			cmd = root // names of commands follow
		}
	}
	return nil
}

// firstWord returns the index of the first argument that is neither a flag of cmd
// or its subcommands nor its value. It returns -1 if there is none, or if it is
// unclear because a flag before it is unknown.
func firstWord(cmd *cobra.Command, args []string) int {
	for i := 0; i < len(args); i++ {
		name, isFlag := strings.CutPrefix(args[i], "--")
		if !isFlag && !strings.HasPrefix(args[i], "-") {
			return i
		}
		name, _, attached := strings.Cut(name, "=")
		var flag *pflag.Flag
		for _, c := range append(cmd.Commands(), cmd) {
			if f := c.Flags().Lookup(name); f != nil {
				flag = f
			}
		}
		if flag == nil || name == "help" {
			return -1
		}
		if !attached && flag.NoOptDefVal == "" {
			i++
		}
	}
	return -1
}

// noArgs rejects positional arguments, including unknown commands. If a flag for
// a PIN or password is set, the error does not quote the argument: it may be the
// PIN, or the second half of a password with a space.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasAvailableSubCommands() {
		hint := "see " + cmd.CommandPath() + " --help"
		if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
			i := max(0, slices.IndexFunc(similar, func(s string) bool { return strings.HasPrefix(s, args[0]) }))
			hint = "did you mean " + cmd.CommandPath() + " " + similar[i] + "?"
		}
		return signer.WithHint(fmt.Errorf("unknown command %q", keystore.Excerpt(args[0])), hint)
	}
	return strayArgument(cmd, args[0])
}

// requestExtensions are the extensions of files that people give as an argument.
var requestExtensions = []string{".csr", ".req", ".p10"}

// flagForArgument returns the flag of cmd for the file that people give as an
// argument, if only this flag is missing. Otherwise it returns "": the argument can
// be a part of the value of another flag, which lacks quotes. The name of a request
// cannot.
func flagForArgument(cmd *cobra.Command, arg string) string {
	if f := cmd.Flags().Lookup("csr"); f != nil && !f.Changed && slices.Contains(requestExtensions, filepath.Ext(arg)) {
		return f.Name
	}
	if f := cmd.Flags().Lookup("dir"); f != nil && !f.Changed {
		if info, err := os.Stat(arg); err == nil && info.IsDir() {
			return f.Name
		}
	}
	if cmd.Flags().Lookup("profile") != nil {
		return "" // the argument can also be its value
	}
	for _, name := range []string{"csr", "certificate", "in", "private-key"} {
		if f := cmd.Flags().Lookup(name); f != nil {
			if f.Changed || cmd.Flags().Changed("subject") {
				return ""
			}
			return name
		}
	}
	return ""
}

// strayArgument returns the error for an argument that no command accepts.
func strayArgument(cmd *cobra.Command, arg string) error {
	argument := fmt.Sprintf("argument %q", keystore.Excerpt(arg))
	hint := "put quotes around values that contain spaces; see " + cmd.CommandPath() + " --help"
	switch name := flagForArgument(cmd, arg); {
	case arg == `\` || strings.Contains(arg, "\n"):
		hint = hintOneLine
	case cmd.Flags().NFlag() == 0 && cmd.Flags().Lookup("profile") != nil:
		hint = "did you mean " + cmd.CommandPath() + " --profile " + OneLine(ShellQuote(keystore.Excerpt(arg))) + "?"
	case name != "" && !strings.HasPrefix(arg, "-") && strings.TrimSpace(arg) == arg && arg != "":
		hint = "did you mean --" + name + " " + OneLine(ShellQuote(keystore.Excerpt(arg))) + "? See " + cmd.CommandPath() + " --help"
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if isAboutSecret(f) {
			argument, hint = "argument", "put quotes around values that contain spaces; see "+cmd.CommandPath()+" --help"
		}
		// A flag with an optional value accepts it only as --name=value.
		if slices.Contains(f.Annotations[optionalValues], arg) {
			hint = "write --" + f.Name + "=" + arg
		}
	})
	return signer.WithHint(fmt.Errorf("%s: unexpected %s", cmd.Name(), argument), hint)
}
