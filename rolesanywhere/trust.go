package rolesanywhere

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/signer"
)

// The limits of a trust anchor, from the quotas of the service.
const (
	maxAnchorCertificates = 2
	maxCRLSize            = 300_000 // bytes
)

// A TrustAnchor is what Roles Anywhere knows about the CA of a trust anchor. It
// tells without the service whether a certificate is trusted.
type TrustAnchor struct {
	Certificates []*x509.Certificate // one or two
}

// Check returns an error if the service would refuse a as a trust anchor at the
// time now.
func (a TrustAnchor) Check(now time.Time) error {
	if n := len(a.Certificates); n == 0 || n > maxAnchorCertificates {
		return signer.WithHint(fmt.Errorf("the trust anchor has %d certificates; 1 to %d are allowed", n, maxAnchorCertificates),
			"give only the certificates that the trust anchor contains")
	}
	for _, c := range a.Certificates {
		if !keySupported(c) {
			return signer.WithHint(fmt.Errorf("trust anchor %s: its key is %s, which is not supported", subject(c), signer.DescribeKeyOf(c)),
				"use a CA with an RSA key of at least 2048 bits, or an ECDSA key on P-256, P-384 or P-521")
		}
		for _, r := range anchorRules {
			if r.broken(c) {
				return signer.WithHint(fmt.Errorf("trust anchor %s: %s", subject(c), r.problem), r.hint)
			}
		}
		if err := checkValidity(c, now, "local"); err != nil {
			return fmt.Errorf("trust anchor: %w", err)
		}
	}
	return nil
}

var anchorRules = []struct {
	broken        func(*x509.Certificate) bool
	problem, hint string
}{
	{func(c *x509.Certificate) bool { return c.Version != 3 },
		"it is not an X.509 version 3 certificate", "make the certificate of the CA with extensions"},
	{func(c *x509.Certificate) bool { return !c.BasicConstraintsValid || !c.IsCA },
		"it is not the certificate of a CA", "give the certificate of the CA, which has basicConstraints CA:TRUE"},
	{func(c *x509.Certificate) bool { return c.KeyUsage&x509.KeyUsageCertSign == 0 },
		"its key usage lacks keyCertSign", "make the certificate of the CA with keyUsage = keyCertSign"},
	{func(c *x509.Certificate) bool { return certpath.Weak(c.SignatureAlgorithm) },
		"it is signed with MD5 or SHA-1", "make the certificate of the CA with SHA-256 or stronger"},
}

// Paths returns the paths from the certificate of a key to a, leaf first, with the
// certificate of the trust anchor. It uses the certificates that a Client would
// send. It does not check the leaf itself; see [CheckChain].
func (a TrustAnchor) Paths(certs signer.Certificates, now time.Time) ([][]*x509.Certificate, error) {
	if len(certs.Chain) == 0 {
		return nil, signer.ErrNoCertificate
	}
	originals := make(map[string]*x509.Certificate)
	relaxed := func(c *x509.Certificate) *x509.Certificate {
		originals[string(c.Raw)] = c
		return certpath.Relaxed(c)
	}
	roots, others := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range a.Certificates {
		roots.AddCert(relaxed(c))
	}
	sent := fitting(usable(certs, now))
	for _, c := range sent[1:] {
		others.AddCert(relaxed(c))
	}
	leaf := relaxed(sent[0])
	found, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: others, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		CurrentTime: within(now, sent[0]),
	})
	if err != nil {
		return nil, a.untrusted(certs, now, err)
	}
	var paths [][]*x509.Certificate
	var violation error
	for _, path := range found {
		if err := certpath.Check(path); err != nil {
			violation = cmp.Or(violation, err)
			continue
		}
		for i, c := range path {
			path[i] = originals[string(c.Raw)]
		}
		paths = append(paths, path)
	}
	if len(paths) == 0 {
		return nil, signer.WithHint(fmt.Errorf("certificate %s: %w", subject(sent[0]), violation),
			"have the CA issue the certificate with names and a path that its own certificate allows")
	}
	return paths, nil
}

// within returns now, or the nearest time at which c is valid: CheckChain reports
// an expired leaf.
func within(now time.Time, c *x509.Certificate) time.Time {
	switch {
	case now.Before(c.NotBefore):
		return c.NotBefore
	case now.After(c.NotAfter):
		return c.NotAfter
	}
	return now
}

// untrusted returns the error for certificates that do not lead to a.
func (a TrustAnchor) untrusted(certs signer.Certificates, now time.Time, cause error) error {
	var names []string
	top := certs.Chain[len(certs.Chain)-1]
	for _, c := range a.Certificates {
		names = append(names, subject(c))
		if bytes.Equal(c.RawSubject, top.RawIssuer) && top.CheckSignatureFrom(c) != nil {
			return signer.WithHint(fmt.Errorf("certificate %s: the trust anchor %s has the name of its issuer, but another key made its signature", subject(top), subject(c)),
				"give the present certificate of the CA, and update the trust anchor with it")
		}
	}
	err := fmt.Errorf("certificate %s: it does not lead to the trust anchor %s", subject(certs.Chain[0]), strings.Join(names, " or "))
	if errors.As(cause, new(x509.CertificateInvalidError)) || errors.As(cause, new(x509.UnhandledCriticalExtension)) {
		err = fmt.Errorf("%w: %s", err, strings.TrimPrefix(cause.Error(), "x509: "))
	}
	return signer.WithHint(err, untrusted(certs, now, "local"))
}

// ParseCRL parses a certificate revocation list in PEM or DER, and refuses what
// the service would not import.
func ParseCRL(data []byte) (*x509.RevocationList, error) {
	if len(data) > maxCRLSize {
		return nil, signer.WithHint(fmt.Errorf("the CRL has %d bytes, and Roles Anywhere accepts at most %d", len(data), maxCRLSize),
			"have the CA leave expired certificates out of the CRL")
	}
	der, err := crlOf(data)
	if err != nil {
		return nil, err
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, signer.WithHint(fmt.Errorf("the CRL cannot be read: %s", strings.TrimPrefix(err.Error(), "x509: ")), hintCRL)
	}
	if certpath.Weak(list.SignatureAlgorithm) {
		return nil, signer.WithHint(fmt.Errorf("the CRL is signed with %v", list.SignatureAlgorithm), "have the CA sign it with SHA-256 or stronger")
	}
	extensions := slices.Clone(list.Extensions)
	for _, e := range list.RevokedCertificateEntries {
		extensions = append(extensions, e.Extensions...)
	}
	for _, e := range extensions {
		// Delta and indirect CRLs have such extensions (RFC 5280, section 5.2).
		if e.Critical {
			return nil, signer.WithHint(fmt.Errorf("the CRL has the critical extension %v, which changes its meaning", e.Id),
				"use a complete CRL of one CA, neither a delta CRL nor an indirect one")
		}
	}
	return list, nil
}

const hintCRL = "give a CRL in PEM, which begins with -----BEGIN X509 CRL-----, or in DER"

// Revoked returns the first certificate that is revoked by list in each of paths,
// with its entry, or nil. The error says why list cannot be applied to paths. A
// list that is out of date still applies.
func Revoked(paths [][]*x509.Certificate, list *x509.RevocationList) (*x509.Certificate, *x509.RevocationListEntry, error) {
	applies, forged := false, false
	var first *x509.Certificate
	var why *x509.RevocationListEntry
	good := false
	for _, path := range paths {
		c, entry := revokedIn(path, list, &applies, &forged)
		if entry == nil {
			good = true // one path is enough
		} else if first == nil {
			first, why = c, entry
		}
	}
	name := fmt.Sprintf("%q", clip(list.Issuer.String()))
	switch {
	case !applies && forged:
		return nil, nil, signer.WithHint(fmt.Errorf("the CRL of %s: its signature is not from the CA that issued the certificate", name),
			"give the CRL that this CA signed with its present key")
	case !applies:
		return nil, nil, signer.WithHint(fmt.Errorf("the CRL is from %s, which issued none of the certificates", name),
			"give the CRL of the CA that issued the certificate")
	case good:
		return nil, nil, nil
	}
	return first, why, nil
}

func revokedIn(path []*x509.Certificate, list *x509.RevocationList, applies, forged *bool) (*x509.Certificate, *x509.RevocationListEntry) {
	for i, c := range path[:max(len(path)-1, 0)] {
		issuer := path[i+1]
		if !bytes.Equal(list.RawIssuer, issuer.RawSubject) {
			continue
		}
		if issuer.CheckSignature(list.SignatureAlgorithm, list.RawTBSRevocationList, list.Signature) != nil {
			*forged = true
			continue
		}
		*applies = true
		for n, e := range list.RevokedCertificateEntries {
			if e.SerialNumber.Cmp(c.SerialNumber) == 0 {
				return c, &list.RevokedCertificateEntries[n]
			}
		}
	}
	return nil, nil
}

// crlOf returns the CRL in PEM or DER.
func crlOf(data []byte) ([]byte, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		return data, nil
	}
	if block.Type != "X509 CRL" {
		return nil, signer.WithHint(fmt.Errorf("PEM block %q is not an X509 CRL", block.Type), hintCRL)
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, signer.WithHint(errors.New("the file has more than one PEM block"), "give each CRL in its own file")
	}
	return block.Bytes, nil
}
