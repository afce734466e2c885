package front

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/signer"
)

// A Command is one line in the table of commands. New builds it, which is done
// for the command that was asked for alone, unless help or completions want all
// of them.
type Command struct {
	Name string
	New  func(App) *cobra.Command

	// Brief commands let signals do what they do. Of the others, signals end
	// the context. To catch them takes most of a millisecond.
	Brief bool
}

// tree builds the commands that args need. It sets started once a command line
// was understood.
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
	return root
}

// root returns the command without a name.
func (a App) root(started *bool) *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "AWS credentials with hardware-backed keys, through IAM Roles Anywhere",
		Long: `Holdfast signs with private keys that stay where they live and turns them
into temporary AWS credentials through IAM Roles Anywhere. It takes the flags
of aws_signing_helper.`,
		Example: `  holdfast demo
  holdfast credential-process --certificate cert.pem --private-key key.pem \
      --trust-anchor-arn ARN --profile-arn ARN --role-arn ARN`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			*started = true
			return cmd.Help()
		},
		SuggestionsMinimumDistance: 2,
	}
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.SetFlagErrorFunc(flagError)
	root.SetUsageFunc(usage)
	return root
}

// build builds one command with what all of them have.
func (a App) build(c Command, started *bool) *cobra.Command {
	built := c.New(a)
	for _, part := range append(built.Commands(), built) {
		if part.Args == nil {
			part.Args = noArgs
		}
		run := part.RunE
		part.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			if c.Brief {
				return run(cmd, args)
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			defer a.Catch(cancel)()
			cmd.SetContext(ctx)
			return run(cmd, args)
		}
	}
	return built
}

// addDefaults adds the commands that cobra brings.
func addDefaults(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = isTopic
		case "completion":
			c.Args, c.RunE = noArgs, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range c.Commands() {
				shell.Args = noArgs
			}
		}
	}
}

// noArgs refuses what is not a flag, among it unknown commands. It is not
// shown beside a password, of which it may be the second half.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasAvailableSubCommands() {
		hint := "see " + cmd.CommandPath() + " --help"
		if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
			hint = "did you mean " + cmd.CommandPath() + " " + similar[0] + "?"
		}
		return signer.WithHint(fmt.Errorf("unknown command %q", args[0]), hint)
	}
	what := fmt.Sprintf("argument %q", args[0])
	hint := "put quotes around values with blanks; see " + cmd.CommandPath() + " --help"
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if _, secret := f.Annotations[secretFlag]; secret {
			what = "argument beside its flags"
		}
		// Of a flag whose value is optional, only --name=value gives one.
		if slices.Contains(f.Annotations[optionalValues], args[0]) {
			hint = "write --" + f.Name + "=" + args[0]
		}
	})
	return signer.WithHint(fmt.Errorf("%s takes no %s", cmd.Name(), what), hint)
}

// isTopic wants the names of a command.
func isTopic(help *cobra.Command, args []string) error {
	cmd, rest, err := help.Root().Find(args)
	if err != nil {
		return err
	}
	return noArgs(cmd, rest)
}
