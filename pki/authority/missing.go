package authority

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
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
	now := a.opts.now()
	report := func(path string, begun time.Time, format string, args ...any) {
		age := now.Sub(begun)
		problems = append(problems, &Problem{Path: path, Missing: true, Recent: age >= 0 && age < signPeriod, Err: fmt.Errorf(format, args...)})
	}
	for _, serial := range a.state.serials {
		c := a.state.certificates[serial]
		if !exists[serial+".pem"] && c.Revoked.IsZero() && now.Before(c.NotAfter) {
			report(a.certificatePath(serial), c.Issued, "is missing: the signature of the certificate for %q was interrupted, or the file was lost", c.Subject)
		}
	}
	switch last := &a.state.number; {
	case errors.Is(crlErr, fs.ErrNotExist) && last.Sign() > 0:
		report(a.path(crlFile), a.state.listedAt, "is missing: the signature of the revocation list %v was interrupted, or the file was lost", last)
	case crlErr == nil && crl.Number.Cmp(last) < 0:
		report(a.path(crlFile), a.state.listedAt, "has the number %s: the signature of the revocation list %v was interrupted, or an older list was put there", decimal(crl.Number), last)
	}
	return problems
}

// signPeriod is how long a signature can take, with a person who enters a PIN.
const signPeriod = 2 * time.Minute
