package authority

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
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
		return nil, fmt.Errorf("its serial number is %x", c.SerialNumber)
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
	if list.Number.Cmp(&x.number) > 0 {
		events = append(events, missingEvent{fmt.Errorf("it has the number %s, but the last one in the index is %v", excerpt(list.Number), &x.number), isNumber(list.Number)})
	}
	for _, e := range list.RevokedCertificateEntries {
		if c := x.certificates[serialText(e.SerialNumber)]; revokes(e) && (c == nil || c.Revoked.IsZero()) {
			events = append(events, missingEvent{fmt.Errorf("it revokes the serial number %s, which the index does not list as revoked", excerpt(e.SerialNumber)), isNumber(e.SerialNumber)})
		}
	}
	return events
}

// isNumber reports whether a serial number or a CRL number has at most 20 octets
// and is positive (RFC 5280, sections 4.1.2.2 and 5.2.3). Others cannot be in the
// index.
func isNumber(n *big.Int) bool { return n.Sign() > 0 && n.BitLen() < 160 }

func excerpt(n *big.Int) string {
	if n.BitLen() > 256 {
		return "with more than 32 octets"
	}
	return fmt.Sprintf("%x", n)
}

// revokes reports whether an entry revokes a certificate; removeFromCRL does the
// opposite (RFC 5280, section 5.3.1).
func revokes(e x509.RevocationListEntry) bool { return e.ReasonCode != removeFromCRL }

const removeFromCRL = 8

// leftover is the age at which a temporary file is one of a writer that was
// killed.
const leftover = time.Hour

// Repair adds to the index what the files of the folder prove, as after the
// restore of a copy that was made during a change: certificates that the CA
// signed, and the number and the entries of crl.pem. It removes temporary files
// of writers that were killed. It returns the number of events that it added.
func (a *Authority) Repair(ctx context.Context) (added int, err error) {
	t, err := a.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer t.end()
	if err := t.adoptFiles(); err != nil {
		return t.added, err
	}
	if list, err := a.readCRL(); err == nil {
		if err := t.adoptCRL(list); err != nil {
			return t.added, err
		}
	}
	return t.added, t.sweep()
}

func (t *turn) adoptFiles() error {
	files, err := t.issuedFiles()
	if err != nil {
		return err
	}
	for _, name := range files {
		c, err := t.checkFile(name)
		if err != nil || t.state.certificates[serialText(c.SerialNumber)] != nil {
			continue // Check reports it
		}
		if err := t.append(adoption(c)); err != nil {
			return err
		}
	}
	return nil
}

func adoption(c *x509.Certificate) event {
	return event{Kind: adopted, Serial: serialText(c.SerialNumber), Subject: validText(pki.NamesOf(c).SubjectText()), NotAfter: c.NotAfter, Key: hashOf(c.RawSubjectPublicKeyInfo)}
}

// adoptCRL adds the number and the entries of a list. Of a certificate that is
// in no file only the serial number is known; it is listed until the CA ends.
func (t *turn) adoptCRL(list *x509.RevocationList) error {
	for _, e := range list.RevokedCertificateEntries {
		serial := serialText(e.SerialNumber)
		if !revokes(e) || !isNumber(e.SerialNumber) {
			continue // Check reports a number that cannot be in the index
		}
		if t.state.certificates[serial] == nil {
			if err := t.append(event{Kind: adopted, Serial: serial, NotAfter: t.chain[0].NotAfter}); err != nil {
				return err
			}
		}
		if t.state.certificates[serial].Revoked.IsZero() {
			reason := pki.Reason(e.ReasonCode)
			if !isReason(reason) {
				reason = pki.Unspecified
			}
			if err := t.append(event{Kind: revoked, Serial: serial, Reason: reason}); err != nil {
				return err
			}
		}
	}
	if list.Number.Cmp(&t.state.number) > 0 && isNumber(list.Number) {
		return t.append(event{Kind: listed, Number: list.Number.String(), NextUpdate: list.NextUpdate})
	}
	return nil
}

func (t *turn) sweep() error {
	var all []error
	for _, dir := range []string{t.dir, t.path(issuedDir)} {
		files, err := os.ReadDir(dir)
		all = append(all, err)
		for _, f := range files {
			info, err := f.Info()
			if err == nil && strings.HasPrefix(f.Name(), temporary) && time.Since(info.ModTime()) > leftover {
				all = append(all, os.Remove(filepath.Join(dir, f.Name())))
			}
		}
	}
	return errors.Join(all...)
}

// Adopt adds a certificate to the folder that the CA signed elsewhere, so that
// it can be revoked. It returns its serial number. A certificate that the index
// contains already is no error.
func (a *Authority) Adopt(ctx context.Context, c *x509.Certificate) (serial string, err error) {
	switch {
	case c.Equal(a.chain[0]):
		return "", signer.WithHint(errors.New("it is the certificate of the CA itself"), "revoke it at the CA that issued it; a root cannot be revoked")
	case !a.Issued(c) && bytes.Equal(c.RawIssuer, a.chain[0].RawSubject):
		return "", fmt.Errorf("it was issued by another CA with the name %q; the CA in the folder %s has another key", c.Issuer, a.dir)
	case !a.Issued(c):
		return "", fmt.Errorf("it was issued by %q, not by the CA in the folder %s", c.Issuer, a.dir)
	}
	t, err := a.begin(ctx)
	if err != nil {
		return "", err
	}
	defer t.end()
	serial = serialText(c.SerialNumber)
	if t.state.certificates[serial] != nil {
		return serial, nil
	}
	if !isSerial(serial) {
		return "", fmt.Errorf("the serial number %v is not a positive number of at most 20 octets", c.SerialNumber)
	}
	if err := t.append(adoption(c)); err != nil {
		return "", err
	}
	return serial, a.store(c)
}
