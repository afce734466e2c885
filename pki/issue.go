package pki

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// Backdating is how much earlier than its issue a certificate becomes valid, so
// that a machine whose clock is a little behind accepts it.
const Backdating = time.Minute

// An Issuer is a CA certificate with its key. It borrows the key.
type Issuer struct {
	Certificate *x509.Certificate
	Above       []*x509.Certificate // its issuer, and so on, as far as they are known
	Key         signer.Signer
}

// Check returns an error if the issuer cannot issue certificates at the time
// now. The error wraps [signer.ErrMismatch] if the key is not the
// certificate's.
func (i Issuer) Check(now time.Time) error {
	c := i.Certificate
	switch {
	case !signer.SamePublicKey(signer.PublicKeyOf(c), i.Key.Public()):
		return fmt.Errorf("%w: the key of the CA is not that of its certificate %q", signer.ErrMismatch, c.Subject)
	case !c.BasicConstraintsValid || !c.IsCA:
		return signer.WithHint(fmt.Errorf("the certificate %q is not a CA certificate", c.Subject),
			"issue it with the extensions basicConstraints=critical,CA:TRUE and keyUsage=critical,keyCertSign,cRLSign")
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("the key usage of the CA certificate %q lacks keyCertSign", c.Subject)
	case len(c.RawSubject) <= 2:
		return errors.New("the CA certificate has an empty subject")
	}
	if err := CheckMLDSA(i.Key.Public()); err != nil {
		return signer.WithHint(err, "let OpenSSL 3.5 or later issue with this CA, or make one with a key of another type, such as P-256")
	}
	return checkValidity(c, now)
}

// A Template describes a certificate to issue.
type Template struct {
	Profile   Profile
	Names     Names
	PublicKey crypto.PublicKey

	Serial    *big.Int  // a positive number of at most 20 octets; see NewSerial
	NotBefore time.Time // in whole seconds
	NotAfter  time.Time // in whole seconds; not after the end of the issuer

	CRLDistributionPoints []string // URLs; nil: none
}

// NewSerial returns a random serial number of 159 bits (RFC 5280, section
// 4.1.2.2).
func NewSerial(rand io.Reader) (*big.Int, error) {
	b := make([]byte, 20)
	for {
		if _, err := io.ReadFull(rand, b); err != nil {
			return nil, fmt.Errorf("serial number: %w", err)
		}
		b[0] &= 0x7f
		if n := new(big.Int).SetBytes(b); n.Sign() > 0 {
			return n, nil
		}
	}
}

// Validity returns the validity of a certificate that is issued at the time now
// by issuer, or by itself if issuer is nil: [Backdating] before now until
// lifetime after now. Neither end is outside the validity of the issuer.
func Validity(issuer *x509.Certificate, now time.Time, lifetime time.Duration) (notBefore, notAfter time.Time) {
	notBefore, notAfter = now.Add(-Backdating).UTC().Truncate(time.Second), now.Add(lifetime).UTC().Truncate(time.Second)
	if issuer == nil {
		return notBefore, notAfter
	}
	if notBefore.Before(issuer.NotBefore) {
		notBefore = issuer.NotBefore
	}
	if notAfter.After(issuer.NotAfter) {
		notAfter = issuer.NotAfter
	}
	return notBefore, notAfter
}

// Issue returns a certificate that the issuer signed. The issuer must pass its
// Check at the time when the certificate becomes valid.
func Issue(rand io.Reader, issuer Issuer, t Template) (*x509.Certificate, error) {
	if err := issuer.Check(t.NotBefore); err != nil {
		return nil, err
	}
	if err := t.Check(issuer); err != nil {
		return nil, err
	}
	return create(rand, t, issuer.Certificate, issuer.Key)
}

// Check returns an error if the issuer must not issue t. It does not use the key.
func (t Template) Check(issuer Issuer) error {
	parent := issuer.Certificate
	switch {
	case t.NotAfter.After(parent.NotAfter):
		return fmt.Errorf("the certificate would be valid longer than that of its issuer, which expires at %s", parent.NotAfter.UTC().Format(time.RFC3339))
	case t.Profile.IsCA && (parent.MaxPathLenZero || parent.MaxPathLen > 0 && (t.Profile.PathLength < 0 || t.Profile.PathLength >= parent.MaxPathLen)):
		return errPathLength(parent)
	case bytes.Equal(parent.RawSubject, t.Names.rawSubject()):
		return fmt.Errorf("the certificate would have the name of its issuer, %q", parent.Subject)
	}
	if err := t.check(parent); err != nil {
		return err
	}
	chain := append([]*x509.Certificate{parent}, issuer.Above...)
	if t.Profile.IsCA {
		if err := checkPathLengths(chain, 1); err != nil {
			return err
		}
	}
	for _, c := range chain {
		if err := t.checkConstraints(c); err != nil {
			return err
		}
	}
	return nil
}

func errPathLength(parent *x509.Certificate) error {
	if parent.MaxPathLenZero {
		return signer.WithHint(fmt.Errorf("the CA %q has the path length 0, so it cannot issue certificates of CAs", parent.Subject),
			"make a root with a path length of 1 or more; that of an existing CA cannot be changed")
	}
	return signer.WithHint(fmt.Errorf("the CA %q has the path length %d, so that of the new CA must be less", parent.Subject, parent.MaxPathLen),
		"choose a profile with a smaller path_length; that of an existing CA cannot be changed")
}

// SelfSign returns a certificate that key signed for itself, such as a root. It
// ignores t.PublicKey.
func SelfSign(rand io.Reader, key signer.Signer, t Template) (*x509.Certificate, error) {
	t.PublicKey = key.Public()
	if err := CheckMLDSA(t.PublicKey); err != nil {
		return nil, signer.WithHint(err, "use a key of another type for the CA, such as P-256, or make the CA with OpenSSL 3.5 or later: "+
			"openssl req -x509 -new -key FILE -subj /CN=NAME -days 3650 -addext keyUsage=critical,keyCertSign,cRLSign -out FILE.pem")
	}
	if err := t.check(nil); err != nil {
		return nil, err
	}
	return create(rand, t, nil, key)
}

// create makes a certificate of a template that was checked. parent is nil for a
// self-signed one.
func create(rand io.Reader, t Template, parent *x509.Certificate, key signer.Signer) (*x509.Certificate, error) {
	template, err := t.certificate()
	if err != nil {
		return nil, err
	}
	if template.SignatureAlgorithm, err = signatureAlgorithm(key); err != nil {
		return nil, err
	}
	if parent == nil {
		parent = template
	} else {
		template.AuthorityKeyId = parent.SubjectKeyId
	}
	der, err := x509.CreateCertificate(rand, template, parent, t.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

func (t Template) certificate() (*x509.Certificate, error) {
	id, err := keyID(t.PublicKey)
	if err != nil {
		return nil, err
	}
	p := t.Profile
	c := &x509.Certificate{
		SerialNumber: t.Serial, NotBefore: t.NotBefore, NotAfter: t.NotAfter,
		RawSubject: t.Names.rawSubject(),
		DNSNames:   t.Names.DNSNames, URIs: t.Names.URIs, IPAddresses: t.Names.ips(), EmailAddresses: t.Names.EmailAddresses,
		KeyUsage: p.KeyUsage, ExtKeyUsage: p.ExtKeyUsage,
		BasicConstraintsValid: true, IsCA: p.IsCA,
		SubjectKeyId: id, CRLDistributionPoints: t.CRLDistributionPoints,
	}
	if p.IsCA {
		c.MaxPathLen, c.MaxPathLenZero = p.PathLength, p.PathLength == 0
	}
	return c, nil
}

// check is Check without the comparison with the issuer, which is nil for a
// self-signed certificate.
func (t Template) check(issuer *x509.Certificate) error {
	switch {
	case t.Serial == nil || t.Serial.Sign() <= 0 || t.Serial.BitLen() > 159:
		return errors.New("the serial number is not a positive number of at most 20 octets")
	case !t.NotBefore.Before(t.NotAfter):
		return errors.New("the certificate would end before it becomes valid")
	case t.NotAfter.Year() > 9999:
		return errors.New("the certificate would end after the year 9999")
	}
	if err := checkKey(t.PublicKey); err != nil {
		return err
	}
	if err := t.Names.Check(); err != nil {
		return err
	}
	if len(t.Names.rawSubject()) <= 2 {
		return signer.WithHint(errors.New("the subject is empty"), "give a subject, such as CN=app; no certificate is issued without one")
	}
	if t.Profile.RolesAnywhere {
		return t.checkRolesAnywhere(issuer)
	}
	return nil
}

// keyID returns the key identifier of pub: the first 20 octets of the SHA-256
// hash of its subjectPublicKey (RFC 7093, section 2, method 1).
func keyID(pub crypto.PublicKey) ([]byte, error) {
	bits, err := subjectPublicKey(pub)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(bits)
	return sum[:20], nil
}
