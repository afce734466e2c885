package rolesanywhere

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/signer"
)

// maxCRLSize is the quota of a revocation list, in bytes.
const maxCRLSize = 300_000

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
		if certpath.CheckListSignature(list, issuer) != nil {
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
