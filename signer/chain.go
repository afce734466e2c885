package signer

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/internal/mldsa"
)

// Certificates are the certificates that were found for a key.
type Certificates struct {
	// Chain is the certificate of the key and the likeliest path of its
	// issuers, leaf first. It is nil if there is no certificate for the
	// key.
	Chain []*x509.Certificate

	// Alternatives are the issuer certificates of other paths, the likeliest
	// first: of a CA that several CAs certified, or whose certificate was
	// renewed. A verifier that looks for a path itself (RFC 4158) may need
	// one of them, depending on its trust anchor. They may be out of date.
	Alternatives []*x509.Certificate

	// Others are the rest, such as roots and certificates of other keys.
	Others []*x509.Certificate
}

// Issued returns the certificate of the key and those of all its issuers.
func (c Certificates) Issued() []*x509.Certificate {
	return slices.Concat(c.Chain, c.Alternatives)
}

// All returns the certificates of all fields.
func (c Certificates) All() []*x509.Certificate {
	return slices.Concat(c.Chain, c.Alternatives, c.Others)
}

// CertificatesOf returns the certificates that were found for s. If s does not
// have the method Certificates, they are those of its Chain.
func CertificatesOf(s Signer) Certificates {
	if c, ok := s.(interface{ Certificates() Certificates }); ok {
		return c.Certificates()
	}
	return Certificates{Chain: s.Chain()}
}

// Chain returns the Chain of [SelectCertificates].
func Chain(pub crypto.PublicKey, certs []*x509.Certificate, now time.Time) ([]*x509.Certificate, error) {
	c, err := SelectCertificates(pub, certs, now)
	return c.Chain, err
}

// SelectCertificates selects from certs, which may be in any order, the
// certificate for pub and the certificates of its issuers. It omits the root,
// because the verifier has it, but keeps a self-signed leaf.
//
// If several certificates are for pub, such as an old one and its renewal, it
// prefers in this order: one that is not self-signed, because some devices store
// a placeholder with the key; one that is valid at the time now, or else the one
// whose validity is nearest; one that verifiers accept for a client; one whose
// issuers are valid; the one that expires last; and the one that was issued
// last. Attestation certificates are for no key; see [IsAttestation].
//
// The path never contains two certificates of the same name and key. Each
// certificate signs the one before it. If there is such a path, all its
// certificates are valid at the time now and the path obeys RFC 5280. The trust
// anchor is unknown, so the path is as long as possible. The search is bounded
// and may miss paths among hundreds of certificates with the same names.
//
// The error is [ErrNoCertificate] if certs is empty, wraps it if the only
// certificates for pub are attestation certificates, and wraps [ErrMismatch] if
// no certificate is for pub. The certificates are then in Others.
func SelectCertificates(pub crypto.PublicKey, certs []*x509.Certificate, now time.Time) (Certificates, error) {
	if len(certs) == 0 {
		return Certificates{}, ErrNoCertificate
	}
	var leaves []*x509.Certificate
	attested := false
	for _, c := range certs {
		switch {
		case !SamePublicKey(PublicKeyOf(c), pub):
		case IsAttestation(c):
			attested = true
		default:
			leaves = append(leaves, c)
		}
	}
	if len(leaves) == 0 && attested {
		return Certificates{Others: certs}, onlyAttested()
	}
	if len(leaves) == 0 {
		return Certificates{Others: certs}, mismatch(pub, certs)
	}
	slices.SortStableFunc(leaves, func(a, b *x509.Certificate) int { return compareLeaves(a, b, now) })
	paths := likeliest(leaves, certs, now)
	found := Certificates{Chain: paths.chain()}
	found.Alternatives = paths.alternatives(found.Chain)
	for _, c := range certs {
		if !slices.ContainsFunc(slices.Concat(found.Chain, found.Alternatives, found.Others), c.Equal) {
			found.Others = append(found.Others, c)
		}
	}
	return found, nil
}

// maxLeaves limits the number of certificates for a key whose paths are searched.
const maxLeaves = 8

// likeliest returns the paths from the first of the valid leaves that has a path
// with an open end, or else the paths from the first of leaves.
func likeliest(leaves, certs []*x509.Certificate, now time.Time) *search {
	var first *search
	for _, leaf := range leaves[:min(len(leaves), maxLeaves)] {
		if first != nil && (outside(leaf, now) > 0 || namedAsIssuer(leaf, leaf)) {
			break
		}
		s := newSearch(leaf, certs, now)
		if s.end().open {
			return s
		}
		if first == nil {
			first = s
		}
	}
	return first
}

// unfit reports whether verifiers may refuse c as the certificate of a client:
// its signature is weak, it is one of a CA or older than version 3, or its key
// usage does not allow signatures.
func unfit(c *x509.Certificate) bool {
	return certpath.Weak(c.SignatureAlgorithm) || c.IsCA || c.Version < 3 ||
		c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0
}

// compareLeaves returns a negative number if a is preferred to b as the
// certificate of a key.
func compareLeaves(a, b *x509.Certificate, now time.Time) int {
	return cmp.Or(
		trueLast(namedAsIssuer(a, a), namedAsIssuer(b, b)),
		cmp.Compare(outside(a, now), outside(b, now)),
		trueLast(unfit(a), unfit(b)),
		b.NotAfter.Compare(a.NotAfter),
		b.NotBefore.Compare(a.NotBefore),
	)
}

func trueLast(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// tolerance is how much nearer a certificate that becomes valid is than one that
// has expired: a service may accept the former within this time, because the
// clock of its CA may be ahead of the local clock.
const tolerance = 5 * time.Minute

// outside returns how far now is from the validity of c, or 0 if c is valid.
func outside(c *x509.Certificate, now time.Time) time.Duration {
	if now.After(c.NotAfter) {
		return now.Sub(c.NotAfter) + tolerance
	}
	return max(c.NotBefore.Sub(now), 0)
}

// PublicKeyOf returns the public key of a certificate, or nil if its algorithm is
// unknown. Before Go 1.27, crypto/x509 parses certificates with ML-DSA keys
// (RFC 9881), but not the keys. PublicKeyOf returns such a key with the methods
// Bytes and Equal of crypto/mldsa. It is of another type than the Public of a key in a
// file, which is a *mldsa.PublicKey of filippo.io/mldsa, the one of crypto/mldsa with
// Go 1.27. [SamePublicKey] and [Verifies] accept all of them.
func PublicKeyOf(c *x509.Certificate) crypto.PublicKey { return mldsa.PublicKeyOf(c) }

// MarshalPublicKey returns a public key as a SubjectPublicKeyInfo in DER. Unlike
// [x509.MarshalPKIXPublicKey], it knows ML-DSA keys with every version of Go.
func MarshalPublicKey(pub crypto.PublicKey) ([]byte, error) {
	if key := mldsa.Of(pub); key != nil {
		return key.MarshalPKIX()
	}
	return x509.MarshalPKIXPublicKey(pub)
}

// SamePublicKey reports whether two public keys are equal. They are of the standard
// library's types, or ML-DSA keys of crypto/mldsa, filippo.io/mldsa or
// [PublicKeyOf].
func SamePublicKey(a, b crypto.PublicKey) bool {
	if key := mldsa.Of(a); key != nil {
		return key.Equal(b)
	}
	e, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && e.Equal(b)
}

// Fingerprint returns the SHA-256 digest of a public key as a
// SubjectPublicKeyInfo, in hexadecimal digits, or "" if the type of the key is
// unknown. For a key file, the same is printed by:
//
//	openssl pkey -in FILE -pubout -outform DER | sha256sum
func Fingerprint(pub crypto.PublicKey) string {
	der, err := MarshalPublicKey(pub)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// mismatch returns the error for certs, none of which is for pub.
func mismatch(pub crypto.PublicKey, certs []*x509.Certificate) error {
	of := "the certificate %q"
	if n := len(certs); n > 1 {
		of = fmt.Sprintf("the first of %d certificates, %%q,", n)
	}
	of = fmt.Sprintf(of, certs[0].Subject)
	return unlike(pub, PublicKeyOf(certs[0]), of, DescribeKeyOf(certs[0]))
}

// unlike returns the error for of, a certificate, that contains the key other
// instead of pub.
func unlike(pub, other crypto.PublicKey, of, description string) error {
	is := DescribeKey(pub)
	if is == description {
		is += " with the SHA-256 fingerprint " + Fingerprint(pub) + " of the public key in DER"
		description += " with the fingerprint " + Fingerprint(other)
	}
	return fmt.Errorf("%w: your key is %s; %s contains %s", ErrMismatch, is, of, description)
}

// namedAsIssuer reports whether the names and key identifiers allow issuer to
// be the issuer of c. Names alone are not enough, because a CA that changes its
// key keeps its name and certifies the new key with the old one (RFC 4210,
// section 4.4). An absent identifier matches any key (RFC 5280, section
// 4.2.1.1).
func namedAsIssuer(c, issuer *x509.Certificate) bool {
	a, b := c.AuthorityKeyId, issuer.SubjectKeyId
	return bytes.Equal(issuer.RawSubject, c.RawIssuer) && (len(a) == 0 || len(b) == 0 || bytes.Equal(a, b))
}
