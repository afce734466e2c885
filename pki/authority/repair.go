package authority

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
)

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
