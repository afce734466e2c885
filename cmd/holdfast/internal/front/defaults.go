package front

import (
	_ "embed" // words.bash
	"io"
	"strings"

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

// completionScript returns the script of cobra for a shell, changed so that it
// completes values such as pkcs11:token=a-b;object=c.
func completionScript(root *cobra.Command, shell string, descriptions bool) (string, error) {
	var b strings.Builder
	var err error
	switch {
	case shell == "bash":
		err = root.GenBashCompletionV2(&b, descriptions)
		b.WriteString(bashWords)
	case shell == "fish":
		err = root.GenFishCompletion(&b, descriptions)
	case shell == "zsh" && descriptions:
		err = root.GenZshCompletion(&b)
	case shell == "zsh":
		err = root.GenZshCompletionNoDesc(&b)
	case descriptions:
		err = root.GenPowerShellCompletionWithDesc(&b)
	default:
		err = root.GenPowerShellCompletion(&b)
	}
	return strings.NewReplacer(wrongParts[:]...).Replace(b.String()), err
}

// bashWords follows the completion script of cobra for bash.
//
//go:embed words.bash
var bashWords string

// wrongParts are parts of the scripts of cobra for zsh and fish, each with its
// replacement. They take -b;object= in a value for the beginning of a flag with a
// value; that for fish keeps the backslashes in what is typed, and takes --flag=value
// for an option of string.
var wrongParts = [...]string{
	`'-.*='`, `'^-[^=]*='`,
	`(string match -r -- '-.*=' "$lastArg")`, `(string match -r -- '^-[^=]*=' (commandline -ct))`,
	`(string escape -- (commandline -ct))`, `(string escape -- (string unescape -- (commandline -ct); or commandline -ct))`,
	`(commandline -t | string escape --style=regex)`, `(begin; string unescape -- (commandline -t); or commandline -t; end | string escape --style=regex)`,
	`(string split --max 1 \t $`, `(string split --max 1 -- \t $`,
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
				shell.RunE = func(cmd *cobra.Command, _ []string) error {
					bare, _ := cmd.Flags().GetBool("no-descriptions") // the flag exists
					script, err := completionScript(cmd.Root(), cmd.Name(), !bare)
					if err != nil {
						return err
					}
					_, err = io.WriteString(cmd.OutOrStdout(), script)
					return err
				}
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
