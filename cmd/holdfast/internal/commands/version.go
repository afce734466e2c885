package commands

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

func version(a front.App) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "Prints the versions of Holdfast and Go, and the platform.",
		Example: "  holdfast version --json",
		RunE: func(*cobra.Command, []string) error {
			b := front.ReadBuild()
			if asJSON {
				return front.WriteJSON(a.Stdout, b)
			}
			_, err := fmt.Fprintln(a.Stdout, b)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}
