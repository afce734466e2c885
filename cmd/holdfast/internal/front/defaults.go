package front

import (
	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/internal/lookup"
)

// shells has the help texts of the completion command for each shell.
var shells = lookup.Table[string, struct{ long, example string }]{
	{"bash", struct{ long, example string }{`Prints completions for bash. They require the bash-completion package.`,
		`  # in the current shell:
  source <(holdfast completion bash)

  # in every new shell:
  mkdir -p ~/.local/share/bash-completion/completions
  holdfast completion bash \
      > ~/.local/share/bash-completion/completions/holdfast`}},
	{"zsh", struct{ long, example string }{`Prints completions for zsh.`,
		`  # in the current shell:
  autoload -U compinit && compinit
  source <(holdfast completion zsh)

  # in every new shell, if ~/.zshrc calls compinit:
  holdfast completion zsh > "${fpath[1]}/_holdfast"`}},
	{"fish", struct{ long, example string }{`Prints completions for fish.`,
		`  # in the current shell:
  holdfast completion fish | source

  # in every new shell:
  mkdir -p ~/.config/fish/completions
  holdfast completion fish > ~/.config/fish/completions/holdfast.fish`}},
	{"powershell", struct{ long, example string }{`Prints completions for PowerShell.`,
		`  # in the current shell; for every new shell, add this line to $PROFILE:
  holdfast completion powershell | Out-String | Invoke-Expression`}},
}

// addDefaults adds cobra's help and completion commands with our texts.
func addDefaults(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Short, c.Long = "Show the help for a command", "Shows the help for a command."
			c.Example = "  holdfast help serve"
			c.Args = commandNames
			addHelpFlag(c)
		case "completion":
			c.Short, c.Long = "Print completions for a shell", "Prints a script that lets a shell complete the commands and flags of holdfast."
			c.Example = "  source <(holdfast completion bash)"
			c.Args, c.RunE = noArgs, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			addHelpFlag(c)
			for _, shell := range c.Commands() {
				text := shells.Get(shell.Name())
				shell.Short, shell.Long, shell.Example = "Print completions for "+shell.Name(), text.long, text.example
				shell.Args = noArgs
				addHelpFlag(shell)
			}
		}
	}
}

// addHelpFlag replaces the help flag of cobra, whose text contains the name of
// the command.
func addHelpFlag(cmd *cobra.Command) {
	cmd.Flags().BoolP("help", "h", false, "show this help")
	_ = cmd.Flags().SetAnnotation("help", cobra.FlagSetByCobraAnnotation, []string{"true"}) // the flag exists
}
