package emulator

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/internal/algorithm"
	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// The limits of one trust anchor, from the service's quotas.
const (
	maxAnchorCertificates = 2
	maxAnchorCRLs         = 2
)

// maxRSABits limits the key size, so that a client cannot make the emulator
// compute for minutes. crypto/tls has the same limit.
const maxRSABits = 8192

// signatureAlgorithms lists the algorithms with SHA-256 or stronger for the key
// types that the service supports.
var signatureAlgorithms = []x509.SignatureAlgorithm{
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
	x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
}

// An anchor is a trust anchor.
type anchor struct {
	resource
	Certificates  string                `json:"certificates"`        // PEM
	PrivateCA     string                `json:"privateCa,omitempty"` // ARN of the CA that the certificate is from
	CheckCRLDP    bool                  `json:"crlDpRevocationEnabled"`
	Notifications []notificationSetting `json:"notifications,omitempty"` // that differ from the defaults

	certs []*x509.Certificate
}

// parse parses and checks the certificates. It drops what is beside them, such as a
// private key that is not recognized as PEM, because every response shows the rest.
func (a *anchor) parse() error {
	certs, err := parseCertificates([]byte(a.Certificates))
	if err != nil {
		return err
	}
	if len(certs) == 0 {
		return errors.New("there is no certificate in PEM; give the content of the file, not its name")
	}
	if n := len(certs); n > maxAnchorCertificates {
		return fmt.Errorf("%d certificates are configured; 1 to %d are allowed", n, maxAnchorCertificates)
	}
	a.certs, a.Certificates = certs, ""
	for _, c := range certs {
		a.Certificates += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
		if err := checkCA(c); err != nil {
			return fmt.Errorf("certificate of %s: %w", c.Subject, err)
		}
	}
	if n := len(a.Certificates); n > maxCertificates {
		return fmt.Errorf("the certificates have %d bytes in PEM; at most %d are allowed", n, maxCertificates)
	}
	return nil
}

// readCertificates returns the certificates of a configuration in PEM.
func readCertificates(cfg TrustAnchor) (string, error) {
	all := bytes.Clone(cfg.Certificates)
	for _, path := range cfg.CertificateFiles {
		b, err := readFile(path, maxFile)
		if err != nil {
			return "", err
		}
		certs, err := parseCertificates(b)
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		if len(certs) == 0 {
			return "", fmt.Errorf("%s: contains no PEM certificate", path)
		}
		all = append(append(all, '\n'), b...)
	}
	return string(all), nil
}

func parseCertificates(b []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return certs, nil
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("the PEM block is %q, not CERTIFICATE", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
}

// checkCA checks the rules for trust anchor certificates.
func checkCA(c *x509.Certificate) error {
	switch {
	case c.Version != 3:
		return fmt.Errorf("%w: X.509 version %d", ErrBasicConstraints, c.Version)
	case !c.BasicConstraintsValid || !c.IsCA:
		return fmt.Errorf("%w: not a CA", ErrBasicConstraints)
	case c.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%w: key usage lacks keyCertSign", ErrBasicConstraints)
	}
	return checkAlgorithms(c)
}

func checkAlgorithms(c *x509.Certificate) error {
	switch pub := mldsa.PublicKeyOf(c).(type) {
	case *rsa.PublicKey:
		if n := pub.N.BitLen(); n > maxRSABits {
			return fmt.Errorf("RSA key has %d bits; at most %d are allowed", n, maxRSABits)
		}
	case *ecdsa.PublicKey:
	default:
		if mldsa.Of(pub) == nil {
			return fmt.Errorf("key algorithm is %s", algorithm.OfKey(c))
		}
	}
	return checkSignatureAlgorithm(c.SignatureAlgorithm, c.Raw)
}

// checkSignatureAlgorithm checks the algorithm of a certificate or revocation list.
func checkSignatureAlgorithm(known x509.SignatureAlgorithm, der []byte) error {
	if _, isMLDSA := mldsa.ParseSigned(der); !isMLDSA && !slices.Contains(signatureAlgorithms, known) {
		return fmt.Errorf("signature algorithm is %s", algorithm.OfSignature(known, der))
	}
	return nil
}

// checkLeaf checks the rules for end-entity certificates, except the validity
// period.
func checkLeaf(c *x509.Certificate) error {
	switch {
	case c.Version != 3:
		return fmt.Errorf("X.509 version %d", c.Version)
	case c.BasicConstraintsValid && c.IsCA:
		return errors.New("basic constraints have CA:TRUE")
	case c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("key usage lacks digitalSignature")
	case len(c.Subject.Names) == 0:
		return errors.New("subject is empty")
	}
	return checkAlgorithms(c)
}

// verify verifies the chain from leaf to the trust anchor a. intermediates are
// the untrusted certificates that the client sent, in any order; lists are the
// enabled revocation lists. It returns the valid chains: one is enough (RFC 5280, section
// 6). A CA remains trusted if another CA has certified it too.
func (a *anchor) verify(leaf *x509.Certificate, intermediates []*x509.Certificate, lists []*revocationList, now time.Time) (valid [][]*x509.Certificate, err error) {
	if err := checkLeaf(leaf); err != nil {
		return nil, refuse(codeAccessDenied, msgInsufficient).because(err)
	}
	if now.After(leaf.NotAfter) {
		return nil, refuse(codeAccessDenied, msgExpired, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if now.Before(leaf.NotBefore) {
		return nil, refuse(codeAccessDenied, msgNotYetValid, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	// before any signature is checked with its key
	between := slices.DeleteFunc(slices.Clone(intermediates), func(c *x509.Certificate) bool { return checkAlgorithms(c) != nil })
	chains, err := certpath.Verify(leaf, a.certs, between, now)
	if err != nil {
		return nil, refuse(codeAccessDenied, msgUntrusted).because(err)
	}
	for _, chain := range chains {
		revoked := revoked(chain, lists)
		if revoked == nil {
			valid = append(valid, chain)
			continue
		}
		err = refuse(codeAccessDenied, msgRevoked, trustpolicy.SerialNumber(revoked), revoked.Issuer)
	}
	if len(valid) > 0 {
		return valid, nil
	}
	return nil, err
}
