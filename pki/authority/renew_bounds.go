package authority

import (
	"crypto/x509"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
)

// MaxValid is how many certificates of a line are valid at most: neither expired nor
// revoked. It bounds what a thief of the key obtains before the theft is noticed, so
// that a revocation list can contain it. A machine that renews after two thirds of the
// lifetime has two.
const MaxValid = 20

// checkBounds returns an error if the CA issues no further certificate without a
// person for the line of entry, whose certificate is stored. The caller holds a.mu.
func (a *Authority) checkBounds(entry *Certificate, stored *x509.Certificate) error {
	valid, now := 0, a.opts.now()
	for _, serial := range a.state.serials {
		c := a.state.certificates[serial]
		if c.Line == entry.Line && c.isValid(now) && isRegular(a.certificatePath(serial)) {
			valid++
		}
		if err := a.checkAdopted(entry, stored, c); err != nil {
			return err
		}
	}
	if valid >= MaxValid {
		return refuse(signer.WithHint(fmt.Errorf("the certificate of %q was renewed too often: %d certificates of its line are valid", entry.Subject, valid),
			"find out why; then revoke those that are not in use; show them with: holdfast ca list"))
	}
	return nil
}

// checkAdopted returns an error if c can have replaced the certificate of entry: after
// the restore of an older index, nobody knows whether c, which was added to the index
// since, renewed it with another key.
func (a *Authority) checkAdopted(entry *Certificate, stored *x509.Certificate, c *Certificate) error {
	if c.Profile != "" || !c.Revoked.IsZero() || c.Key == entry.Key || c.Subject != entry.Subject {
		return nil
	}
	adopted, err := a.checkFile(c.Serial + ".pem")
	if err != nil {
		return signer.WithHint(fmt.Errorf("%s: %w", a.certificatePath(c.Serial), err), "examine the folder with: holdfast ca check")
	}
	if adopted.NotBefore.Before(stored.NotBefore) || !pki.NamesOf(adopted).Equal(pki.NamesOf(stored)) {
		return nil
	}
	return refuse(signer.WithHint(fmt.Errorf("the certificate of %q can be superseded: the folder was restored, and got a newer certificate with another key (serial number %s)", entry.Subject, c.Serial),
		"if the newer certificate is not that of the machine, revoke it by its serial number "+c.Serial))
}

// isValid reports whether a certificate has neither expired at the time now nor been
// revoked.
func (c *Certificate) isValid(now time.Time) bool {
	return c.Revoked.IsZero() && !now.After(c.NotAfter)
}
