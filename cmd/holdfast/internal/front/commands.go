package front

import (
	"context"
	"fmt"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A Command is one line in the table of commands. Only the requested command is
// built, unless help or completion needs all of them.
type Command struct {
	Name  string
	Group string // heading in the help; "": "Other commands"
	New   func(App) *cobra.Command

	// Serves marks a command that does not fail because its standard output
	// does: others use it in another way.
	Serves bool

	// DefaultSignals leaves signals at their default action, because catching
	// them takes almost a millisecond. Otherwise signals cancel the context.
	DefaultSignals bool
}

// tree builds the commands that args require. A command sets started when it
// begins to run, that is, after its command line was parsed.
func (a App) tree(args []string, started *bool) *cobra.Command {
	root := a.root(started)
	for _, c := range a.Commands {
		if len(args) > 0 && args[0] == c.Name {
			root.AddCommand(a.build(c, started))
			root.SetHelpCommand(&cobra.Command{Hidden: true})
			root.CompletionOptions.DisableDefaultCmd = true
			return root
		}
	}
	for _, c := range a.Commands {
		root.AddCommand(a.build(c, started))
	}
	addDefaults(root)
	completing := len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd)
	for _, c := range root.Commands() {
		for _, part := range append(c.Commands(), c) {
			a.completeFlags(part)
			if completing { // cobra prints Usage with the quotes around the name of the value
				part.Flags().VisitAll(func(f *pflag.Flag) { _, f.Usage = pflag.UnquoteUsage(f) })
			}
		}
	}
	return root
}

// Tree returns the root command with all commands.
func (a App) Tree() *cobra.Command { return a.tree(nil, new(bool)) }

// root returns the root command without subcommands.
func (a App) root(started *bool) *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "Get AWS credentials with hardware-backed keys through IAM Roles Anywhere",
		Long: `Holdfast obtains temporary AWS credentials through IAM Roles Anywhere. It signs
requests with private keys that never leave their device, or with key files. It
accepts the flags of aws_signing_helper.`,
		Example: `  # try it without AWS and without hardware:
  holdfast demo

  # with AWS:
  holdfast credential-process --certificate cert.pem --private-key key.pem \
      --trust-anchor-arn "$TRUST_ANCHOR_ARN" \
      --profile-arn "$PROFILE_ARN" --role-arn "$ROLE_ARN"`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			*started = true
			if version {
				_, err := fmt.Fprintln(a.Stdout, ReadBuild())
				return err
			}
			return cmd.Help()
		},
		SuggestionsMinimumDistance: 2,
	}
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.SetFlagErrorFunc(flagError)
	root.SetUsageFunc(usage)
	addHelpFlag(root)
	root.Flags().BoolVar(&version, "version", false, "print the version, like holdfast version")
	for _, c := range a.Commands {
		if c.Group != "" && !root.ContainsGroup(c.Group) {
			root.AddGroup(&cobra.Group{ID: c.Group, Title: c.Group})
		}
	}
	return root
}

// build builds one command and adds the parts that all commands share.
func (a App) build(c Command, started *bool) *cobra.Command {
	built := c.New(a)
	built.GroupID = c.Group
	for _, part := range append(built.Commands(), built) {
		part.Flags().SortFlags = false // keep related flags together
		addHelpFlag(part)
		if part.Args == nil {
			part.Args, part.ValidArgsFunction = noArgs, cobra.NoFileCompletions
		}
		run := part.RunE
		part.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			if err := dropEmpty(cmd.Flags()); err != nil {
				return err
			}
			if c.DefaultSignals {
				signal.Ignore(syscall.SIGPIPE) // as keepOnClosedPipe, but fast
				return run(cmd, args)
			}
			keepOnClosedPipe()
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			defer a.Catch(cancel)()
			cmd.SetContext(ctx)
			return run(cmd, args)
		}
	}
	return built
}

// dropEmpty makes flags whose value is an empty text equal to flags that are not
// given. A script can then pass a flag with a variable that may be empty. It returns an
// error for a flag of RefuseEmpty.
func dropEmpty(fs *pflag.FlagSet) (err error) {
	refuse := func(f *pflag.Flag) {
		if _, refused := f.Annotations[refuseEmpty]; refused {
			err = signer.WithHint(Usagef("--%s is an empty text", f.Name), "check the variable, or leave the flag out")
		}
	}
	fs.Visit(func(f *pflag.Flag) {
		if list, ok := f.Value.(pflag.SliceValue); ok {
			given := len(list.GetSlice())
			values := slices.DeleteFunc(list.GetSlice(), func(s string) bool { return s == "" })
			if len(values) < given {
				refuse(f)
			}
			_ = list.Replace(values) // lists of texts accept every value
			f.Changed = len(values) > 0
		} else if f.Value.String() == "" {
			_ = f.Value.Set(f.DefValue) // the default is valid
			f.Changed = false
			annotate(f, dropped, nil)
			refuse(f)
		}
	})
	return err
}

// droppedFlag returns the flag that the text of an error calls not given, and that
// was given as an empty text, such as a variable that is not set; "": there is none.
func droppedFlag(cmd *cobra.Command, text string) (name string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		_, isDropped := f.Annotations[dropped]
		if isDropped && strings.Contains(text, " given") && strings.Contains(text, "--"+f.Name+" ") {
			name = f.Name
		}
	})
	return name
}

// commandNames accepts the name of a command and its subcommands as arguments.
func commandNames(help *cobra.Command, args []string) error {
	cmd, rest, err := help.Root().Find(args)
	if err != nil {
		return err
	}
	return noArgs(cmd, rest)
}
