package issuing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
)

// problemsNow returns the problems of the CA that are not about the index: it
// cannot issue certificates, or its certificate or list has expired. The error is
// that of the settings.
func (f *folder) problemsNow(ctx context.Context, a front.App, ca *authority.Authority) (problems []*authority.Problem, err error) {
	report := func(file, hint, format string, args ...any) {
		problems = append(problems, &authority.Problem{Path: filepath.Join(f.dir, file), Err: signer.WithHint(fmt.Errorf(format, args...), hint)})
	}
	for i, c := range ca.Chain() {
		switch expired := a.Now().After(c.NotAfter); {
		case expired && i == 0:
			report("ca.pem", "create a new CA; docs/ca.md describes how to replace a root", "the certificate of the CA expired at %s", day(c.NotAfter))
		case expired:
			report("ca.pem", "put the new certificate of that CA there", "the certificate of the CA above, %q, expired at %s", c.Subject, day(c.NotAfter))
		}
	}
	_, next, err := ca.LastCRL()
	if err != nil {
		return nil, err
	}
	if isOverdue(next, a.Now()) {
		report("crl.pem", "create the next one with: "+f.command("crl", "--out", "crl.pem"), "the revocation list expired at %s", day(next))
	}
	settings, err := readConfig(ctx, f.dir, "")
	if err != nil {
		return nil, err
	}
	key, err := settings.key(a, f.dir)
	if err != nil {
		return nil, front.Usagef("%s: %w", filepath.Join(f.dir, configFile), err)
	}
	correct := "correct " + filepath.Join(f.dir, configFile)
	for _, setting := range []struct {
		name, hint string
		files      []string
		secret     bool // the name can be a password in the wrong place
	}{
		{"private_key", correct + "; " + hintLostKey, key.Files(a), false},
		{"pin_source", correct, key.PINFiles(a), true},
	} {
		for _, file := range setting.files {
			if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
				if setting.secret {
					file = "that it names"
				}
				report(configFile, setting.hint, "%s: the file %s does not exist", setting.name, file)
			}
		}
	}
	return problems, nil
}

// hintOfProblems returns the hint for the problems that ca check found.
func (f *folder) hintOfProblems(problems []*authority.Problem) string {
	hint := "compare the files with a backup; docs/ca.md describes the folder"
	for _, p := range problems {
		switch own := signer.Hint(p); {
		case p.Repairable:
			return "add what the signed files prove with: " + f.command("check", "--repair")
		case p.Missing && filepath.Base(p.Path) == "crl.pem":
			hint = "restore it from a backup, or create the next list with: " + f.command("crl", "--out", "crl.pem")
		case p.Missing:
			hint = "restore the files from a backup; if there are none, revoke such a certificate with: " + f.command("revoke", "--serial", "NUMBER") +
				"; and create the next list with: " + f.command("crl")
		case own != "":
			hint = own
		case filepath.Base(p.Path) == "crl.pem":
			hint = "put the list that was published last in " + p.Path + ", or remove the file"
		}
	}
	return hint
}
