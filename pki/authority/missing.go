package authority

import (
	"errors"
	"fmt"
	"io/fs"
)

// missingFiles returns a problem for each file that the index promises: of each
// certificate that is neither revoked nor expired, and of the last revocation list.
// The files are read after the index, whose events come first.
func (a *Authority) missingFiles() (problems []*Problem) {
	files, _ := a.issuedFiles() // Check has read them without an error
	crl, crlErr := a.readCRL()
	exists := make(map[string]bool, len(files))
	for _, name := range files {
		exists[name] = true
	}
	for _, serial := range a.state.serials {
		c := a.state.certificates[serial]
		if !exists[serial+".pem"] && c.Revoked.IsZero() && a.opts.now().Before(c.NotAfter) {
			problems = append(problems, &Problem{Path: a.certificatePath(serial), Missing: true,
				Err: fmt.Errorf("is missing: the signature of the certificate for %q was interrupted, or the file was lost", c.Subject)})
		}
	}
	switch last := &a.state.number; {
	case errors.Is(crlErr, fs.ErrNotExist) && last.Sign() > 0:
		problems = append(problems, &Problem{Path: a.path(crlFile), Missing: true,
			Err: fmt.Errorf("is missing: the signature of the revocation list %v was interrupted, or the file was lost", last)})
	case crlErr == nil && crl.Number.Cmp(last) < 0:
		problems = append(problems, &Problem{Path: a.path(crlFile), Missing: true,
			Err: fmt.Errorf("has the number %s: the signature of the revocation list %v was interrupted, or an older list was put there", excerpt(crl.Number), last)})
	}
	return problems
}
