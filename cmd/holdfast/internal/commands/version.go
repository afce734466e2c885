package commands

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

func version(a front.App) *cobra.Command {
	var asJSON, verbose bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Prints the versions of Holdfast and Go, and the platform. The JSON object also
says whether the program was built with cgo, without which PKCS #11 modules run
only in the helper holdfast-pkcs11. --verbose says where they can run, and which
helper would be used; it starts the helper to ask for its version.`,
		Example: `  holdfast version --json
  holdfast version --verbose`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := versions{Build: front.ReadBuild()}
			if verbose {
				b.Modules = a.PKCS11(cmd.Context())
			}
			if asJSON {
				return front.WriteJSON(a.Stdout, b)
			}
			_, err := fmt.Fprintln(a.Stdout, b)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	cmd.Flags().BoolVar(&verbose, "verbose", false, "also print where PKCS #11 modules can run, and the helper and its version")
	return cmd
}

// versions are what the command prints.
type versions struct {
	front.Build
	Modules *front.PKCS11 `json:"pkcs11,omitempty"`
}

// String returns the description in one line, and one line each for what --verbose adds.
func (v versions) String() string {
	text := v.Build.String()
	m := v.Modules
	if m == nil {
		return text
	}
	here := "no (built without cgo)"
	if m.InProcess {
		here = "yes (built with cgo)"
	}
	lines := []string{text, "PKCS #11 modules in this process: " + here}
	switch {
	case m.Error != "":
		lines = append(lines, "PKCS #11 helper: none; "+m.Error, "hint: "+m.Hint)
	case m.Problem != "":
		lines = append(lines, "PKCS #11 helper: "+m.Helper, m.Problem)
	default:
		lines = append(lines, "PKCS #11 helper: "+m.Helper+" "+m.Version)
		if front.DifferentReleases(m.Version, v.Version) {
			lines = append(lines, "the helper is of another release than this program ("+v.Version+")")
		}
	}
	return strings.Join(lines, "\n")
}
