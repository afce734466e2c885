package front

import "github.com/spf13/cobra"

// shells says of each shell how its completions are turned on.
var shells = map[string]struct{ long, example string }{
	"bash": {`Prints completions for bash. They need the package bash-completion.`,
		`  # in this shell:
  source <(holdfast completion bash)

  # in every new one:
  mkdir -p ~/.local/share/bash-completion/completions
  holdfast completion bash \
      > ~/.local/share/bash-completion/completions/holdfast`},
	"zsh": {`Prints completions for zsh.`,
		`  # in this shell:
  autoload -U compinit && compinit
  source <(holdfast completion zsh)

  # in every new one, if ~/.zshrc calls compinit:
  holdfast completion zsh > "${fpath[1]}/_holdfast"`},
	"fish": {`Prints completions for fish.`,
		`  # in this shell:
  holdfast completion fish | source

  # in every new one:
  mkdir -p ~/.config/fish/completions
  holdfast completion fish > ~/.config/fish/completions/holdfast.fish`},
	"powershell": {`Prints completions for PowerShell.`,
		`  # in this shell; for every new one put it into $PROFILE:
  holdfast completion powershell | Out-String | Invoke-Expression`},
}

// addDefaults adds the commands that cobra brings.
func addDefaults(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Short, c.Long = "Show the help of a command", "Shows the help of a command."
			c.Example = "  holdfast help serve"
			c.Args = isTopic
			addHelpFlag(c)
		case "completion":
			c.Short, c.Long = "Print completions for a shell", "Prints a script that has a shell complete Holdfast's commands and flags."
			c.Example = "  source <(holdfast completion bash)"
			c.Args, c.RunE = noArgs, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			addHelpFlag(c)
			for _, shell := range c.Commands() {
				text := shells[shell.Name()]
				shell.Short, shell.Long, shell.Example = "Print completions for "+shell.Name(), text.long, text.example
				shell.Args = noArgs
				addHelpFlag(shell)
			}
		}
	}
}

// addHelpFlag takes the place of cobra's flag, whose text names the command.
func addHelpFlag(cmd *cobra.Command) {
	cmd.Flags().BoolP("help", "h", false, "show this help")
	_ = cmd.Flags().SetAnnotation("help", cobra.FlagSetByCobraAnnotation, []string{"true"}) // the flag is there
}
