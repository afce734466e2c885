package signer

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"fmt"
)

// maxChain bounds a chain in case certificates that are not self-signed issue
// each other in a circle.
const maxChain = 16

// Chain chooses from certs, in any order, the certificate of pub and the path
// of its issuers, leaf first, as far as they are there. The root is left out,
// because whoever verifies has it; a self-signed leaf stays. Certificates that
// are not on the path are dropped. Of several certificates for pub, such as an
// old one and its renewal, the one that expires last is taken.
//
// It fails with [ErrNoCertificate] if certs is empty and with [ErrMismatch] if
// none is for pub.
func Chain(pub crypto.PublicKey, certs []*x509.Certificate) ([]*x509.Certificate, error) {
	if len(certs) == 0 {
		return nil, ErrNoCertificate
	}
	var leaf *x509.Certificate
	for _, c := range certs {
		if SamePublicKey(c.PublicKey, pub) && (leaf == nil || c.NotAfter.After(leaf.NotAfter)) {
			leaf = c
		}
	}
	if leaf == nil {
		return nil, fmt.Errorf("%w: the key is %s, the certificate %q has %s",
			ErrMismatch, DescribeKey(pub), certs[0].Subject, DescribeKey(certs[0].PublicKey))
	}
	chain := []*x509.Certificate{leaf}
	for c := leaf; len(chain) < maxChain; {
		issuer := findIssuer(c, certs)
		if issuer == nil || selfIssued(issuer) {
			break
		}
		chain = append(chain, issuer)
		c = issuer
	}
	return chain, nil
}

// SamePublicKey reports whether two public keys of the standard library's
// types are equal.
func SamePublicKey(a, b crypto.PublicKey) bool {
	e, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && e.Equal(b)
}

// findIssuer compares names and key identifiers first (RFC 4158, section 3.5)
// and checks signatures only to choose between several candidates, such as the
// two generations of a CA that kept its name.
func findIssuer(c *x509.Certificate, certs []*x509.Certificate) *x509.Certificate {
	if selfIssued(c) {
		return nil
	}
	var found []*x509.Certificate
	for _, i := range certs {
		if !bytes.Equal(i.RawSubject, c.RawIssuer) || i.Equal(c) {
			continue
		}
		if len(c.AuthorityKeyId) > 0 && len(i.SubjectKeyId) > 0 && !bytes.Equal(c.AuthorityKeyId, i.SubjectKeyId) {
			continue
		}
		found = append(found, i)
	}
	if len(found) == 1 {
		return found[0]
	}
	for _, i := range found {
		if c.CheckSignatureFrom(i) == nil {
			return i
		}
	}
	return nil
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }
