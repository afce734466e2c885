package issuing

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
)

func caCheck(a front.App) *cobra.Command {
	var f folder
	var repair bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the folder of a CA",
		Long: `Checks that the index has no gaps and was not changed, that each certificate in
the folder is signed by the CA and agrees with the index, that the index
contains each entry of the last revocation list, and that no file is missing. It
also checks the settings, that the file with the key exists, and that neither
the certificate of the CA nor the last revocation list has expired. It prints a
line for each problem, and fails if there is one.

--repair adds to the index what the signed files prove, such as after the
restore of a backup: certificates, and the entries and the number of crl.pem. It
also removes temporary files of programs that were killed.`,
		Example: `  holdfast ca check
  holdfast ca check --dir restored --repair`,
		RunE: func(cmd *cobra.Command, _ []string) error { return check(cmd.Context(), a, f, repair) },
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "add to the index what the signed files prove")
	f.add(cmd, "object: certificates, repaired, problems")
	return cmd
}

// A checked is the output of ca check --json.
type checked struct {
	Certificates int       `json:"certificates"` // in the index
	Repaired     int       `json:"repaired"`     // events that were added
	Problems     []problem `json:"problems"`
}

type problem struct {
	File       string `json:"file"`
	Problem    string `json:"problem"`
	Repairable bool   `json:"repairable"`
}

func check(ctx context.Context, a front.App, f folder, repair bool) error {
	ca, err := f.open(a)
	if err != nil {
		return err
	}
	result := checked{Problems: []problem{}}
	if repair {
		if result.Repaired, err = ca.Repair(ctx); err != nil {
			return err
		}
	}
	problems, err := ca.Check()
	if err != nil {
		return err
	}
	problems = slices.DeleteFunc(problems, func(p *authority.Problem) bool {
		if p.Recent {
			a.Logger(false).Warn(p.Error()+", or it is being made", "hint", "check again in two minutes")
		}
		return p.Recent
	})
	now, err := f.problemsNow(ctx, a, ca)
	if err != nil {
		return err
	}
	problems = append(problems, now...)
	entries, err := ca.List()
	if err != nil {
		return err
	}
	result.Certificates = len(entries)
	for _, p := range problems {
		result.Problems = append(result.Problems, problem{p.Path, p.Err.Error(), p.Repairable})
	}
	isUnlisted := func(c authority.Certificate) bool { return c.Unlisted && a.Now().Before(c.NotAfter) }
	if slices.ContainsFunc(entries, isUnlisted) {
		a.Logger(false).Warn("certificates were revoked after the last revocation list, so AWS still accepts them", "hint", "create and publish the next list: "+f.command("crl"))
	}
	if err := printCheck(a, f, result, problems); err != nil || len(problems) == 0 {
		return err
	}
	return signer.WithHint(fmt.Errorf("the folder %s has %s", f.dir, count(len(problems), "problem")), f.hintOfProblems(problems))
}

func printCheck(a front.App, f folder, result checked, problems []*authority.Problem) error {
	if f.json {
		return front.WriteJSON(a.Stdout, result)
	}
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintln(&b, front.OneLine(p.Error()))
	}
	if result.Repaired > 0 {
		fmt.Fprintf(&b, "events added to the index: %d\n", result.Repaired)
	}
	if len(problems) == 0 {
		fmt.Fprintf(&b, "found no problems; the index lists %s\n", count(result.Certificates, "certificate"))
	}
	_, err := a.Stdout.Write([]byte(b.String()))
	return err
}
