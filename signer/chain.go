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
// old one and its renewal, the one that expires last is taken, and a
// self-signed one, which devices keep beside a key as a placeholder, only if
// there is no other.
//
// It fails with [ErrNoCertificate] if certs is empty and with [ErrMismatch] if
// none is for pub.
func Chain(pub crypto.PublicKey, certs []*x509.Certificate) ([]*x509.Certificate, error) {
	if len(certs) == 0 {
		return nil, ErrNoCertificate
	}
	var leaf *x509.Certificate
	for _, c := range certs {
		if SamePublicKey(c.PublicKey, pub) && (leaf == nil || better(c, leaf)) {
			leaf = c
		}
	}
	if leaf == nil {
		return nil, fmt.Errorf("%w: the key is %s, the certificate %q has %s",
			ErrMismatch, DescribeKey(pub), certs[0].Subject, DescribeKey(certs[0].PublicKey))
	}
	chain := []*x509.Certificate{leaf}
	for c := leaf; len(chain) < maxChain; {
		if c = findIssuer(c, certs); c == nil {
			break
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// better reports whether a rather than b is a key's certificate.
func better(a, b *x509.Certificate) bool {
	if selfSigned(a) != selfSigned(b) {
		return selfSigned(b)
	}
	return a.NotAfter.After(b.NotAfter)
}

// SamePublicKey reports whether two public keys of the standard library's
// types are equal.
func SamePublicKey(a, b crypto.PublicKey) bool {
	e, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && e.Equal(b)
}

// findIssuer compares names and key identifiers first (RFC 4158, section 3.5)
// and checks signatures only to choose between several candidates, such as the
// two generations of a CA that kept its name. Of a root and its
// cross-certificate it takes the latter, and it never returns a root.
func findIssuer(c *x509.Certificate, certs []*x509.Certificate) *x509.Certificate {
	if selfSigned(c) {
		return nil
	}
	var found []*x509.Certificate
	for _, i := range certs {
		if bytes.Equal(i.RawSubject, c.RawIssuer) && !differ(c.AuthorityKeyId, i.SubjectKeyId) {
			found = append(found, i)
		}
	}
	for _, i := range found {
		if !selfSigned(i) && (len(found) == 1 || c.CheckSignatureFrom(i) == nil) {
			return i
		}
	}
	return nil
}

// selfSigned goes by names and key identifiers: a CA that changes its key keeps
// its name, and certifies the new key with the old one (RFC 4210, section 4.4).
func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && !differ(c.AuthorityKeyId, c.SubjectKeyId)
}

// differ reports whether two key identifiers are of two keys. Either may be
// absent (RFC 5280, section 4.2.1.1).
func differ(a, b []byte) bool { return len(a) > 0 && len(b) > 0 && !bytes.Equal(a, b) }
