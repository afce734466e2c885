package renew

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/pki/cms"
)

// Signed returns the request as CMS SignedData in PEM (RFC 5652): its content is the
// CSR, its transaction the token, and the key of the old certificate signs it, so that a
// CA can renew the certificate without a person. See [cms.Sign].
func (r Request) Signed(ctx context.Context, now time.Time) ([]byte, error) {
	return cms.Sign(ctx, r.Old, r.CSR, r.Token, now)
}

// ParsePEM returns the certificates in PEM. The errors are predicates, such as
// "contains a certificate that is damaged".
func ParsePEM(data []byte) (certs []*x509.Certificate, err error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("contains a PEM block %.40q, not a certificate", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("contains a certificate that is damaged")
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("contains no certificate in PEM")
	}
	return certs, nil
}
