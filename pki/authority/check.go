package authority

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"strings"

	"github.com/holdfast-dev/holdfast/pki"
)

// A Problem is a part of the folder that contradicts the index.
type Problem struct {
	Path string
	Err  error

	// Repairable means that Repair adds to the index what the file proves.
	Repairable bool

	// Missing means that the index says more than the files: a signature was
	// interrupted or is being made, or a file was lost.
	Missing bool

	// Recent means that what is missing was begun less than two minutes ago,
	// so that it is probably being made.
	Recent bool
}

// Error implements error.
func (p *Problem) Error() string { return p.Path + ": " + p.Err.Error() }

// Unwrap returns p.Err.
func (p *Problem) Unwrap() error { return p.Err }

// Check reads the whole folder and returns a problem for each file that
// contradicts the index. It writes nothing. The error is that of a folder that
// cannot be read, or wraps [ErrIndex].
func (a *Authority) Check() (problems []*Problem, err error) {
	// The files are read before the index, whose events come first.
	files, err := a.issuedFiles()
	if err != nil {
		return nil, err
	}
	crl, crlErr := a.readCRL()
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.read(); err != nil {
		return nil, err
	}
	report := func(path string, repairable bool, err error) {
		problems = append(problems, &Problem{Path: path, Err: err, Repairable: repairable})
	}
	if err := pki.CheckChain(a.chain); err != nil {
		report(a.path(caFile), false, err)
	}
	if a.state.number.BitLen() > 0 && !isNumber(new(big.Int).Add(&a.state.number, big.NewInt(1))) {
		report(a.path(indexFile), false, lastNumber())
	}
	for _, name := range files {
		path, serial := a.path(issuedDir, name), strings.TrimSuffix(name, ".pem")
		entry := a.state.certificates[serial]
		if c, err := a.checkFile(name); err != nil {
			report(path, false, err)
		} else if entry == nil {
			report(path, true, errors.New("the index does not contain it"))
		} else if err := entry.check(c); err != nil {
			report(path, false, err)
		}
	}
	problems = append(problems, a.missingFiles()...)
	if crlErr == nil {
		for _, m := range a.state.missing(crl) {
			report(a.path(crlFile), m.repairable, m.err)
		}
		for _, serial := range a.state.lacks(crl) {
			report(a.path(crlFile), false, fmt.Errorf("it does not revoke the serial number %s, although the list with this number in the index does", serial))
		}
	} else if !errors.Is(crlErr, fs.ErrNotExist) {
		report(a.path(crlFile), false, crlErr)
	}
	return problems, nil
}

// temporary is the beginning of the names of files that a writer left behind
// when it was killed, or that it is writing.
const temporary = ".holdfast-"

// issuedFiles returns the names of the files in the folder of certificates.
func (a *Authority) issuedFiles() (names []string, err error) {
	files, err := os.ReadDir(a.path(issuedDir))
	for _, f := range files {
		if !strings.HasPrefix(f.Name(), temporary) {
			names = append(names, f.Name())
		}
	}
	return names, err
}

// checkFile returns the certificate in a file, which the CA signed.
func (a *Authority) checkFile(name string) (*x509.Certificate, error) {
	serial, ok := strings.CutSuffix(name, ".pem")
	if !ok || !isSerial(serial) {
		return nil, errors.New("it does not belong to the folder")
	}
	c, err := a.Certificate(serial)
	switch {
	case err != nil:
		return nil, err
	case serialText(c.SerialNumber) != serial:
		return nil, fmt.Errorf("its serial number is %s", serialText(c.SerialNumber))
	case !a.Issued(c):
		return nil, errors.New("this CA did not issue it")
	}
	return c, nil
}

// Issued reports whether the CA signed a certificate under its name. Other CAs can
// have the same key.
func (a *Authority) Issued(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, a.chain[0].RawSubject) && c.CheckSignatureFrom(a.chain[0]) == nil
}

// check compares a certificate with its entry.
func (entry *Certificate) check(c *x509.Certificate) error {
	switch {
	case entry.Key != "" && hashOf(c.RawSubjectPublicKeyInfo) != entry.Key:
		return errors.New("it is for another key than the index says")
	case entry.Key != "" && !c.NotAfter.Equal(entry.NotAfter):
		return errors.New("it ends at another time than the index says")
	case entry.Key != "" && validText(pki.NamesOf(c).SubjectText()) != entry.Subject:
		return errors.New("it has another subject than the index says")
	}
	return nil
}

// A missingEvent is what a revocation list says and the index does not.
type missingEvent struct {
	err        error
	repairable bool
}

// missing compares a revocation list with the index.
func (x *state) missing(list *x509.RevocationList) (events []missingEvent) {
	add := func(repairable bool, format string, args ...any) {
		events = append(events, missingEvent{fmt.Errorf(format, args...), repairable})
	}
	if list.Number.Cmp(&x.number) > 0 {
		add(isNumber(list.Number), "it has the number %s, but the last one in the index is %v", decimal(list.Number), &x.number)
	}
	for _, e := range list.RevokedCertificateEntries {
		if c := x.certificates[serialText(e.SerialNumber)]; revokes(e) && (c == nil || c.Revoked.IsZero()) {
			add(isNumber(e.SerialNumber), "it revokes the serial number %s, which the index does not list as revoked", excerpt(e.SerialNumber))
		}
	}
	return events
}

// lacks returns the serial numbers that the last list of the index must contain, and
// list, which has the same number, does not.
func (x *state) lacks(list *x509.RevocationList) (serials []string) {
	if list.Number.Cmp(&x.number) != 0 {
		return nil
	}
	has := make(map[string]bool, len(list.RevokedCertificateEntries))
	for _, e := range list.RevokedCertificateEntries {
		has[serialText(e.SerialNumber)] = revokes(e)
	}
	for _, serial := range x.serials {
		c := x.certificates[serial]
		if !c.Revoked.IsZero() && c.revokedBy < x.listedBy && c.NotAfter.After(list.ThisUpdate) && !has[serial] {
			serials = append(serials, serial)
		}
	}
	return serials
}

// isNumber reports whether a serial number or a CRL number has at most 20 octets
// and is positive (RFC 5280, sections 4.1.2.2 and 5.2.3). Others cannot be in the
// index.
func isNumber(n *big.Int) bool { return n.Sign() > 0 && n.BitLen() < 160 }

func excerpt(n *big.Int) string {
	if n.BitLen() > maxShown {
		return tooLong
	}
	return serialText(n)
}

func decimal(n *big.Int) string {
	if n.BitLen() > maxShown {
		return tooLong
	}
	return n.String()
}

// Numbers with more bits than maxShown are not printed.
const (
	maxShown = 256
	tooLong  = "with more than 32 octets"
)

// revokes reports whether an entry revokes a certificate; removeFromCRL does the
// opposite (RFC 5280, section 5.3.1).
func revokes(e x509.RevocationListEntry) bool { return e.ReasonCode != removeFromCRL }

const removeFromCRL = 8
