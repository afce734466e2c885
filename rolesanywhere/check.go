package rolesanywhere

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
	"github.com/holdfast-dev/holdfast/signer"
)

// A CertificateError is a certificate that Roles Anywhere would refuse.
// Nothing was sent.
type CertificateError struct {
	Name string // the file or subject
	Err  error  // what is wrong; carries a hint
}

func (e *CertificateError) Error() string {
	if e.Name == "" {
		return e.Err.Error()
	}
	return e.Name + ": " + e.Err.Error()
}

func (e *CertificateError) Unwrap() error { return e.Err }

// CheckSigner reports why a key cannot be the Signer of a Client with cfg, at the
// time that Now tells: a [*CertificateError], or for a nil key an error that
// wraps [ErrConfig]. It makes no signature and sends nothing. It is a check for
// [rotate.Config], whose keys a Client of [NewRotating] is to use.
func (cfg Config) CheckSigner(key signer.Signer) error {
	if key == nil {
		return fmt.Errorf("%w: no signer", ErrConfig)
	}
	now := time.Now
	if cfg.Now != nil {
		now = cfg.Now
	}
	if err := CheckChain(key.Chain(), now()); err != nil {
		return &CertificateError{cfg.CertificateName, err}
	}
	return nil
}

// CheckChain reports why Roles Anywhere would refuse a chain, leaf first, at a
// time, as far as that can be told without the trust anchor; nil if nothing is
// wrong with it.
//
// Source: IAM Roles Anywhere User Guide, "The IAM Roles Anywhere trust model".
func CheckChain(chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 {
		return signer.ErrNoCertificate
	}
	for _, r := range leafRules {
		if r.broken(chain[0]) {
			return signer.WithHint(fmt.Errorf("certificate %s: %s", subject(chain[0]), r.is), r.hint)
		}
	}
	if n := len(chain) - 1; n > sigv4x509.MaxChain {
		return signer.WithHint(fmt.Errorf("certificate %s: %d intermediate certificates, the service takes %d",
			subject(chain[0]), n, sigv4x509.MaxChain), "make an intermediate CA nearer to the leaf the trust anchor")
	}
	for i, c := range chain {
		if err := checkValidity(c, now); err != nil {
			return err
		}
		if i > 0 && weak[c.SignatureAlgorithm] {
			return signer.WithHint(fmt.Errorf("intermediate certificate %s: signed with %v", subject(c), c.SignatureAlgorithm),
				"reissue it with SHA-256 or stronger")
		}
	}
	return nil
}

var weak = map[x509.SignatureAlgorithm]bool{
	x509.MD2WithRSA: true, x509.MD5WithRSA: true, x509.SHA1WithRSA: true, x509.DSAWithSHA1: true, x509.ECDSAWithSHA1: true,
}

var leafRules = []struct {
	broken   func(*x509.Certificate) bool
	is, hint string
}{
	{func(c *x509.Certificate) bool { return !keySupported(c) },
		"its key is of a type or size that Roles Anywhere does not take", "use RSA with 2048 bits or more, or ECDSA with P-256, P-384 or P-521"},
	{func(c *x509.Certificate) bool { return c.Version != 3 },
		"not an X.509 version 3 certificate", "reissue it with extensions; with openssl x509 -req give -extfile"},
	{func(c *x509.Certificate) bool { return c.IsCA },
		"a CA certificate", "use an end-entity certificate, with basicConstraints CA:FALSE"},
	{func(c *x509.Certificate) bool { return c.KeyUsage&x509.KeyUsageDigitalSignature == 0 },
		"key usage lacks digitalSignature", "reissue it with keyUsage = digitalSignature"},
	{func(c *x509.Certificate) bool { return weak[c.SignatureAlgorithm] },
		"signed with MD5 or SHA-1", "reissue it with SHA-256 or stronger"},
	{func(c *x509.Certificate) bool { return len(c.Subject.Names) == 0 },
		"its subject is empty", "reissue it with a subject, such as CN=name"},
}

// minRSA is the smallest RSA key, in bits, that is worth a try. The service's
// own limit is not documented.
const minRSA = 1024

func keySupported(c *x509.Certificate) bool {
	switch pub := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return pub.N.BitLen() >= minRSA
	case *ecdsa.PublicKey:
		return pub.Curve == elliptic.P256() || pub.Curve == elliptic.P384() || pub.Curve == elliptic.P521()
	}
	return false
}

func checkValidity(c *x509.Certificate, now time.Time) error {
	const layout = time.RFC3339
	switch {
	case now.Before(c.NotBefore):
		return signer.WithHint(fmt.Errorf("certificate %s: not valid before %s, and this machine's clock says %s",
			subject(c), c.NotBefore.UTC().Format(layout), now.UTC().Format(layout)), "set the clock, or wait")
	case now.After(c.NotAfter):
		return signer.WithHint(fmt.Errorf("certificate %s: expired at %s, and this machine's clock says %s",
			subject(c), c.NotAfter.UTC().Format(layout), now.UTC().Format(layout)), "renew it, or set the clock")
	}
	return nil
}

// subject names a certificate; what comes from it is quoted, since a terminal
// could obey it.
func subject(c *x509.Certificate) string { return fmt.Sprintf("%q", clip(c.Subject.String())) }
