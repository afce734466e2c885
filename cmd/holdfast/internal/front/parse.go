package front

import (
	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/keystore"
)

// ParseFlags parses the arguments of a command that is not in the table of
// commands, as if it were: with the same errors, and flags whose value is empty
// are not given.
func ParseFlags(cmd *cobra.Command, args []string) error {
	if err := cmd.ParseFlags(args); err != nil {
		return &UsageError{flagError(cmd, err)}
	}
	if rest := cmd.Flags().Args(); len(rest) > 0 {
		return Usagef("argument %q is not a flag", keystore.Excerpt(rest[0]))
	}
	return dropEmpty(cmd.Flags())
}
