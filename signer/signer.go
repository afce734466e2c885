package signer

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"

	"github.com/holdfast-dev/holdfast/internal/mldsa"
)

// A Signer is a private key in a device, an operating system store or a file.
//
// Sign follows [crypto.Signer]. For RSA and ECDSA keys the caller hashes the message,
// and an ECDSA signature is ASN.1 DER. Ed25519 and ML-DSA keys sign the message itself:
// pass it as digest, with crypto.Hash(0). [SignMessage] hashes the message where that is
// needed. All methods are safe for concurrent use. Public and
// Chain do no I/O and never block; Sign may wait for a touch or for a busy
// device.
type Signer interface {
	crypto.Signer

	// Chain returns the key's certificates, leaf first, without the root,
	// or nil if there are none. The caller must not change them.
	Chain() []*x509.Certificate

	// Close waits for Sign calls that the device executes and then releases
	// the resources of the key. Sign calls that still wait for the device
	// may return [ErrClosed]. The wait for a device that does not answer is
	// bounded; the error, or the documentation of the backend, says what
	// stays in use then. Close may be called more than once. Afterwards Sign
	// returns [ErrClosed]; Public and Chain keep working.
	Close() error
}

// A SchemeLimiter is a Signer that supports only some of the signature schemes
// of its key type, such as an RSA key in a token without PSS.
type SchemeLimiter interface {
	SignatureSchemes() []tls.SignatureScheme
}

// mldsaSchemes are ML-DSA-44, ML-DSA-65 and ML-DSA-87 (draft-ietf-tls-mldsa, section 3).
var mldsaSchemes = []tls.SignatureScheme{0x0904, 0x0905, 0x0906}

// TLSCertificate returns s as a certificate for crypto/tls. If s is a
// [SchemeLimiter], the certificate is restricted to the schemes of s. The
// certificate borrows s, which must stay open as long as the certificate is in
// use. TLSCertificate fails with [ErrNoCertificate] if s has no chain. For an ML-DSA
// key the error wraps [errors.ErrUnsupported] if crypto/tls cannot use it, as before
// Go 1.27.
func TLSCertificate(s Signer) (tls.Certificate, error) {
	chain := s.Chain()
	if len(chain) == 0 {
		return tls.Certificate{}, ErrNoCertificate
	}
	c := tls.Certificate{PrivateKey: s, Leaf: chain[0]}
	for _, cert := range chain {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	if l, ok := s.(SchemeLimiter); ok {
		c.SupportedSignatureAlgorithms = l.SignatureSchemes()
	}
	if key := mldsa.Of(s.Public()); key != nil {
		peer := tls.CertificateRequestInfo{Version: tls.VersionTLS13, SignatureSchemes: mldsaSchemes}
		if peer.SupportsCertificate(&c) != nil {
			return tls.Certificate{}, unsupported("crypto/tls of this version of Go does not support " + key.Name + " keys")
		}
	}
	return c, nil
}
