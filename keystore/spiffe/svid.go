package spiffe

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/signer"
)

// Limits of an SVID.
const (
	maxChain   = 16
	maxKey     = 16 << 10 // bytes of a private key
	maxRSABits = 16384    // the time to verify a signature grows with its square

	maxListed = 8 // SVIDs in a hint
)

// An svid is a message of the API that has not been checked.
type svid struct {
	id, hint   string
	chain, key []byte // DER: certificates, leaf first, and PKCS #8
}

type svids []svid

// clear overwrites the private keys.
func (all svids) clear() {
	for _, s := range all {
		clear(s.key)
	}
}

// matches reports whether c selects s.
func (c config) matches(s svid) bool {
	return (c.id == "" || c.id == s.id) && (c.hint == "" || c.hint == s.hint)
}

// choose returns the index of the SVID that cfg selects: the first one that matches
// (SPIFFE Workload API, sections 5.2.1 and 5.3).
func (all svids) choose(cfg config) (int, error) {
	for i, s := range all {
		if cfg.matches(s) {
			return i, nil
		}
	}
	if len(all) == 0 {
		return 0, signer.WithHint(fmt.Errorf("%w: the answer of the Workload API has no SVID", signer.ErrNotFound), cfg.endpoint.register())
	}
	var offered []string
	for i, s := range all[:min(len(all), maxListed)] {
		if checkID(s.id) == nil {
			offered = append(offered, cfg.reference(all, i).String())
		}
	}
	return 0, signer.WithHint(fmt.Errorf("%w: the Workload API has %d SVIDs for this process, but not this one", signer.ErrNotFound, len(all)),
		"the Workload API offers: "+strings.Join(offered, ", "))
}

// certificates returns the certificates of the SVID after it has checked them (X509-SVID,
// sections 2, 4 and 5.2). Times are not checked.
func (s svid) certificates() ([]*x509.Certificate, error) {
	if err := checkID(s.id); err != nil {
		return nil, s.invalid(fmt.Errorf("its SPIFFE ID %w", err))
	}
	certs, err := x509.ParseCertificates(s.chain)
	switch {
	case err != nil:
		return nil, s.invalid(fmt.Errorf("its certificates cannot be parsed: %w", err))
	case len(certs) == 0:
		return nil, s.invalid(signer.ErrNoCertificate)
	case len(certs) > maxChain:
		return nil, s.invalid(fmt.Errorf("it has %d certificates; at most %d are used", len(certs), maxChain))
	}
	leaf := certs[0]
	switch {
	case leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return nil, s.invalid(errors.New("its certificate is that of a CA"))
	case len(leaf.URIs) != 1:
		return nil, s.invalid(fmt.Errorf("its certificate has %d URIs, not one", len(leaf.URIs)))
	case leaf.URIs[0].String() != s.id:
		return nil, s.invalid(fmt.Errorf("its certificate is for %q", clip(leaf.URIs[0].String())))
	}
	for i, c := range certs {
		if pub, ok := c.PublicKey.(*rsa.PublicKey); ok && pub.N.BitLen() > maxRSABits {
			return nil, s.invalid(fmt.Errorf("a certificate has an RSA key of %d bits", pub.N.BitLen()))
		}
		if i > 0 && certpath.CheckSignature(certs[i-1], c) != nil {
			return nil, s.invalid(fmt.Errorf("certificate %d did not sign certificate %d", i+1, i))
		}
	}
	return certs, nil
}

// privateKey returns the private key of the SVID, which must be that of leaf.
func (s svid) privateKey(leaf *x509.Certificate) (crypto.Signer, error) {
	if len(s.key) == 0 || len(s.key) > maxKey {
		return nil, s.invalid(fmt.Errorf("its private key has %d bytes, not 1 to %d", len(s.key), maxKey))
	}
	parsed, err := x509.ParsePKCS8PrivateKey(s.key)
	if err != nil { // its text can contain parts of the key
		return nil, s.invalid(errors.New("its private key is not PKCS #8, or of a type that is not supported"))
	}
	key, ok := parsed.(crypto.Signer)
	switch {
	case !ok:
		return nil, s.invalid(errors.New("its private key makes no signatures"))
	case !signer.SamePublicKey(key.Public(), signer.PublicKeyOf(leaf)):
		return nil, s.invalid(fmt.Errorf("%w: its private key is not that of its certificate", signer.ErrMismatch))
	}
	return key, nil
}

// invalid returns the error for an SVID that must not be used.
func (s svid) invalid(err error) error {
	return signer.WithHint(fmt.Errorf("the Workload API sent an invalid SVID %q: %w", clip(s.id), err),
		"check the agent; its log may have the reason")
}

// clip shortens text that becomes part of an error.
func clip(s string) string {
	const limit = 256
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
