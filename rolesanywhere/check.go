package rolesanywhere

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/signer"
)

// A CertificateError reports a certificate that Roles Anywhere would reject. No
// request was sent.
type CertificateError struct {
	Name string // the file or subject; may be empty
	Err  error  // the reason, with a hint
}

func (e *CertificateError) Error() string {
	if e.Name == "" {
		return e.Err.Error()
	}
	return e.Name + ": " + e.Err.Error()
}

func (e *CertificateError) Unwrap() error { return e.Err }

// CheckSigner returns an error if key cannot be the Signer of a Client with cfg
// at the time cfg.Now: a [*CertificateError] or, for a nil key, an error that
// wraps [ErrConfig]. It makes no signature and sends no request. Use it as the
// Check of the [rotate.Config] for [NewRotating].
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

// clockTolerance is how long before the start of its validity a certificate is
// sent. The local clock may be behind the clock of a CA that has just issued the
// certificate, and only the service's clock matters.
const clockTolerance = 5 * time.Minute

// CheckChain returns an error if Roles Anywhere would reject the first
// certificate of a chain at the time now, whatever the trust anchor is. It
// accepts a certificate that becomes valid within five minutes, because the
// local clock may be wrong. It does not check the other certificates: the trust
// anchor decides which of them are needed.
//
// Source: IAM Roles Anywhere User Guide, "The IAM Roles Anywhere trust model".
func CheckChain(chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 {
		return signer.ErrNoCertificate
	}
	if problems := Problems(chain[0], now); len(problems) > 0 {
		return problems[0]
	}
	return nil
}

// Problems returns every reason why Roles Anywhere would reject a certificate at
// the time now, whatever the trust anchor is; see [CheckChain].
func Problems(leaf *x509.Certificate, now time.Time) (problems []error) {
	if !keySupported(leaf) {
		problems = append(problems, signer.WithHint(fmt.Errorf("certificate %s: its key is %s, which is not supported", subject(leaf), signer.DescribeKeyOf(leaf)),
			"use an RSA key of at least 2048 bits, an ECDSA key on P-256, P-384 or P-521, or an ML-DSA key"))
	}
	for _, r := range leafRules {
		if r.broken(leaf) {
			problems = append(problems, signer.WithHint(fmt.Errorf("certificate %s: %s", subject(leaf), r.problem), r.hint))
		}
	}
	if name := unknownSignature(leaf); name != "" {
		problems = append(problems, signer.WithHint(fmt.Errorf("certificate %s: it is signed with %s, which is not supported", subject(leaf), name), hintSupportedCA))
	}
	if err := checkValidity(leaf, now, "local"); err != nil && !soon(leaf, now) {
		problems = append(problems, err)
	}
	return problems
}

// soon reports whether c becomes valid within the tolerance.
func soon(c *x509.Certificate, now time.Time) bool {
	wait := c.NotBefore.Sub(now)
	return wait > 0 && wait <= clockTolerance
}

var leafRules = []struct {
	broken        func(*x509.Certificate) bool
	problem, hint string
}{
	{func(c *x509.Certificate) bool { return c.Version != 3 },
		"it is not an X.509 version 3 certificate", "reissue it with extensions; openssl x509 -req needs -extfile for that"},
	{func(c *x509.Certificate) bool { return c.IsCA },
		"it is a CA certificate", "use an end-entity certificate with basicConstraints CA:FALSE"},
	{func(c *x509.Certificate) bool { return c.KeyUsage&x509.KeyUsageDigitalSignature == 0 },
		"its key usage lacks digitalSignature", "reissue it with keyUsage = digitalSignature"},
	{func(c *x509.Certificate) bool { return certpath.Weak(c.SignatureAlgorithm) },
		"it is signed with MD5 or SHA-1", "reissue it with SHA-256 or stronger"},
	{func(c *x509.Certificate) bool { return c.SignatureAlgorithm == x509.PureEd25519 },
		"it was issued by a CA with an Ed25519 key, which is not supported", hintSupportedCA},
	{func(c *x509.Certificate) bool { return len(c.Subject.Names) == 0 && !isSVID(c) },
		"its subject is empty", "reissue it with a subject, such as CN=name"},
	{func(c *x509.Certificate) bool { return len(c.Subject.Names) == 0 && isSVID(c) },
		"its subject is empty, and Roles Anywhere needs one beside the SPIFFE ID", "have the issuer of the SVIDs set a subject; SPIRE sets C=US,O=SPIRE, unless a CredentialComposer plugin changes it"},
}

// isSVID reports whether c is an X.509-SVID, which may have an empty subject (X509-SVID,
// section 3.1).
func isSVID(c *x509.Certificate) bool {
	return len(c.URIs) == 1 && strings.HasPrefix(c.URIs[0].String(), "spiffe://")
}

const hintSupportedCA = "use a CA with an RSA, ECDSA or ML-DSA key"

// unknownSignature returns the name of the algorithm that signed c if crypto/x509 and
// Holdfast do not know it, and "" otherwise.
func unknownSignature(c *x509.Certificate) string {
	if certpath.IsKnown(c) {
		return ""
	}
	return certpath.SignatureName(c)
}

// minRSA is the minimum size of an RSA key in bits. The service does not
// document its own limit, so this one is below the recommended 2048 bits.
const minRSA = 1024

func keySupported(c *x509.Certificate) bool {
	switch pub := signer.PublicKeyOf(c).(type) {
	case *rsa.PublicKey:
		return pub.N.BitLen() >= minRSA
	case *ecdsa.PublicKey:
		return pub.Curve == elliptic.P256() || pub.Curve == elliptic.P384() || pub.Curve == elliptic.P521()
	default:
		return mldsa.Of(pub) != nil
	}
}

// checkValidity returns an error if c is not valid at the time now, which is that
// of the clock with the given name.
func checkValidity(c *x509.Certificate, now time.Time, clock string) error {
	const layout = time.RFC3339
	switch {
	case now.Before(c.NotBefore):
		return signer.WithHint(fmt.Errorf("certificate %s: not valid before %s; the %s clock shows %s",
			subject(c), c.NotBefore.UTC().Format(layout), clock, now.UTC().Format(layout)), "correct the clock, or wait")
	case now.After(c.NotAfter):
		return signer.WithHint(fmt.Errorf("certificate %s: expired at %s; the %s clock shows %s",
			subject(c), c.NotAfter.UTC().Format(layout), clock, now.UTC().Format(layout)), "renew the certificate, or correct the clock")
	}
	return nil
}

// subject returns the subject of c, quoted because it may contain terminal
// control sequences.
func subject(c *x509.Certificate) string { return fmt.Sprintf("%q", clip(c.Subject.String())) }
