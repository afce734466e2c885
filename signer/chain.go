package signer

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"fmt"
)

// maxChain limits the length of a chain, because certificates that are not
// self-signed can issue each other in a loop.
const maxChain = 16

// Chain selects from certs, which may be in any order, the certificate for pub
// and the path of its issuers, leaf first, as far as certs contains them. It
// omits the root, because the verifier has it, but keeps a self-signed leaf. It
// drops certificates that are not on the path.
//
// If several certificates are for pub, such as an old one and its renewal,
// Chain uses the one that expires last. It uses a self-signed certificate only
// if there is no other, because some devices store one with the key as a
// placeholder.
//
// Chain fails with [ErrNoCertificate] if certs is empty and with [ErrMismatch]
// if no certificate is for pub.
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
		is, other := DescribeKey(pub), DescribeKey(certs[0].PublicKey)
		if is == other {
			return nil, fmt.Errorf("%w: both keys are %s, but certificate %q has another public key",
				ErrMismatch, is, certs[0].Subject)
		}
		return nil, fmt.Errorf("%w: the key is %s, the key of certificate %q is %s",
			ErrMismatch, is, certs[0].Subject, other)
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

// better reports whether a is preferred to b as the certificate of a key.
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

// findIssuer returns the issuer of c from certs, or nil. It compares names and
// key identifiers (RFC 4158, section 3.5). It checks signatures only if there
// are several candidates, such as the old and the new certificate of a CA that
// changed its key but not its name. It never returns a root: if both a root and
// its cross-certificate match, it returns the cross-certificate.
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

// selfSigned compares names and key identifiers. Names alone are not enough,
// because a CA that changes its key keeps its name and certifies the new key
// with the old one (RFC 4210, section 4.4).
func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && !differ(c.AuthorityKeyId, c.SubjectKeyId)
}

// differ reports whether a and b identify different keys. An absent identifier
// matches any key (RFC 5280, section 4.2.1.1).
func differ(a, b []byte) bool { return len(a) > 0 && len(b) > 0 && !bytes.Equal(a, b) }
