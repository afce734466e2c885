package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
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
				b.Modules = modulesOf(cmd.Context(), a)
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
	Modules *modules `json:"pkcs11,omitempty"`
}

// modules say where PKCS #11 modules can run.
type modules struct {
	InProcess bool   `json:"in_process"`
	Helper    string `json:"helper,omitempty"`         // the path of its program
	Version   string `json:"helper_version,omitempty"` // that it prints
	Error     string `json:"helper_error,omitempty"`   // why there is none
	Hint      string `json:"hint,omitempty"`           // of the error
}

// modulesOf asks the backend and the helper. It returns nil if there is no backend for
// PKCS #11.
func modulesOf(ctx context.Context, a front.App) *modules {
	place := func(isolation string) (keystore.Isolation, error) {
		return a.Store.Isolation(keystore.Ref{Scheme: "pkcs11", Rest: "?isolation=" + isolation}, a.Options(nil))
	}
	_, hereErr := place("off")
	in, err := place("on")
	m := &modules{InProcess: hereErr == nil, Helper: in.Program}
	switch {
	case err != nil:
		_, m.Hint = front.Explain(err)
		if own := new(signer.Error); errors.As(err, &own) { // without the reference, which nobody gave
			err = own.Err
		}
		m.Error = front.OneLine(err.Error())
	case in.Program == "":
		return nil
	default:
		m.Version = front.HelperVersion(ctx, in.Program)
	}
	return m
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
		lines = append(lines, "PKCS #11 helper: none: "+m.Error, "hint: "+m.Hint)
	case m.Version == "":
		lines = append(lines, "PKCS #11 helper: "+m.Helper+", which does not print its version, as holdfast-pkcs11 does")
	default:
		lines = append(lines, "PKCS #11 helper: "+m.Helper+" "+m.Version)
	}
	return strings.Join(lines, "\n")
}
