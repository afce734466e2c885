package emulator

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/certpath"
)

// maxCRL is ImportCrl's limit on crlData, in bytes.
const maxCRL = 300_000

// A crl is a revocation list of a trust anchor.
type crl struct {
	resource
	TrustAnchorARN string `json:"trustAnchorArn"`
	Data           []byte `json:"data"` // as imported

	parsed *revocationList
}

// A revocationList is a parsed CRL. Its signature has not been verified.
type revocationList struct {
	list    *x509.RevocationList
	revoked map[string]bool // by serial number
}

// parse parses the list again after it was stored.
func (c *crl) parse() (err error) {
	c.parsed, err = parseCRL(c.Data)
	return err
}

// loadCRLs returns the configured CRLs of a trust anchor.
func loadCRLs(inline [][]byte, files []string) ([][]byte, error) {
	if n := len(inline) + len(files); n > maxAnchorCRLs {
		return nil, fmt.Errorf("%d CRLs are configured; at most %d are allowed", n, maxAnchorCRLs)
	}
	all := make([][]byte, 0, maxAnchorCRLs)
	for i, b := range inline {
		if _, err := parseCRL(b); err != nil {
			return nil, fmt.Errorf("CRL %d: %w", i+1, err)
		}
		all = append(all, bytes.Clone(b))
	}
	for _, path := range files {
		b, err := readFile(path, maxCRL)
		if err != nil {
			return nil, err
		}
		if _, err := parseCRL(b); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, b)
	}
	return all, nil
}

// parseCRL parses a CRL in PEM or DER. It refuses critical extensions, because
// they change the meaning of the list; delta and indirect CRLs have such
// extensions (RFC 5280, section 5.2).
func parseCRL(b []byte) (*revocationList, error) {
	if len(b) > maxCRL {
		return nil, fmt.Errorf("CRL has %d bytes; at most %d are allowed", len(b), maxCRL)
	}
	if block, rest := pem.Decode(b); block != nil {
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("the PEM block is %q, not X509 CRL", block.Type)
		}
		if more, _ := pem.Decode(rest); more != nil {
			return nil, errors.New("more than one PEM block")
		}
		b = block.Bytes
	}
	list, err := x509.ParseRevocationList(b)
	if err != nil {
		return nil, err
	}
	if err := checkSignatureAlgorithm(list.SignatureAlgorithm, list.Raw); err != nil {
		return nil, err
	}
	extensions := slices.Clone(list.Extensions)
	revoked := make(map[string]bool, len(list.RevokedCertificateEntries))
	for _, e := range list.RevokedCertificateEntries {
		revoked[e.SerialNumber.String()] = true
		extensions = append(extensions, e.Extensions...)
	}
	for _, e := range extensions {
		if e.Critical {
			return nil, fmt.Errorf("critical extension %v is not supported", e.Id)
		}
	}
	return &revocationList{list, revoked}, nil
}

// issuedBy reports whether issuer signed c. It does not require cRLSign in the
// issuer's key usage: a certificate that its CA has revoked is not trusted,
// even if the CA's certificate lacks this usage.
func (c *revocationList) issuedBy(issuer *x509.Certificate) bool {
	return bytes.Equal(c.list.RawIssuer, issuer.RawSubject) &&
		certpath.CheckListSignature(c.list, issuer) == nil
}

// revoked returns the first certificate of a verified chain that its issuer has
// revoked, or nil. A list remains effective after its nextUpdate, because the
// lack of a newer list does not undo a revocation. A missing or outdated list
// is not an error.
func revoked(chain []*x509.Certificate, lists []*revocationList) *x509.Certificate {
	for i, c := range chain[:len(chain)-1] {
		for _, list := range lists {
			if list.revoked[c.SerialNumber.String()] && list.issuedBy(chain[i+1]) {
				return c
			}
		}
	}
	return nil
}
