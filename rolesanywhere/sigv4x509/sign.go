// Package sigv4x509 signs and verifies HTTP requests with an X.509 certificate
// and its key for IAM Roles Anywhere. The scheme is Signature Version 4 with a
// signature by the certificate's key instead of a derived HMAC key.
//
// Source: IAM Roles Anywhere User Guide, "The IAM Roles Anywhere signing
// process". All functions are safe for concurrent use.
package sigv4x509

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The names of the algorithms. ECDSA uses SHA-256 on every curve, RSA uses
// PKCS #1 v1.5 padding.
const (
	RSA   = "AWS4-X509-RSA-SHA256"
	ECDSA = "AWS4-X509-ECDSA-SHA256"
)

// MaxChain is the maximum number of intermediate certificates in a request.
const MaxChain = 5

// TimeFormat is the layout of the X-Amz-Date header, which is always in UTC.
const TimeFormat = "20060102T150405Z"

const (
	dateHeader  = "X-Amz-Date"
	certHeader  = "X-Amz-X509"
	chainHeader = "X-Amz-X509-Chain"

	service    = "rolesanywhere"
	terminator = "aws4_request"
)

// Algorithm returns the name of the algorithm for the key pub. The error wraps
// [errors.ErrUnsupported].
func Algorithm(pub crypto.PublicKey) (string, error) {
	switch pub.(type) {
	case *rsa.PublicKey:
		return RSA, nil
	case *ecdsa.PublicKey:
		return ECDSA, nil
	}
	return "", fmt.Errorf("sigv4x509: the key is neither RSA nor ECDSA: %w", errors.ErrUnsupported)
}

// Sign signs r for a region at the time t. body is the body of r. key must be
// the key of the leaf chain[0]; the leaf is followed by at most [MaxChain]
// intermediates, its issuer first, without the root.
//
// Sign sets the headers X-Amz-Date, X-Amz-X509, X-Amz-X509-Chain if there are
// intermediates, and Authorization. The signature covers the first three, Host
// and Content-Type. Sign borrows its arguments. On error r is unchanged.
func Sign(r *http.Request, body []byte, key crypto.Signer, chain []*x509.Certificate, region string, t time.Time) error {
	if len(chain) == 0 {
		return errors.New("sigv4x509: no certificate")
	}
	if n := len(chain) - 1; n > MaxChain {
		return fmt.Errorf("sigv4x509: the chain has %d intermediate certificates; at most %d are allowed", n, MaxChain)
	}
	algorithm, err := Algorithm(chain[0].PublicKey)
	if err != nil {
		return err
	}
	if pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(chain[0].PublicKey) {
		return errors.New("sigv4x509: certificate is for another key")
	}
	date := t.UTC().Format(TimeFormat)
	header := r.Header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	header.Set(dateHeader, date)
	header.Set(certHeader, base64.StdEncoding.EncodeToString(chain[0].Raw))
	header.Del(chainHeader)
	signed := []string{"host", "x-amz-date", "x-amz-x509"}
	if len(header.Values("Content-Type")) > 0 {
		signed = append([]string{"content-type"}, signed...)
	}
	if len(chain) > 1 {
		parts := make([]string, 0, MaxChain)
		for _, c := range chain[1:] {
			parts = append(parts, base64.StdEncoding.EncodeToString(c.Raw))
		}
		header.Set(chainHeader, strings.Join(parts, ","))
		signed = append(signed, "x-amz-x509-chain")
	}

	unsigned := *r
	unsigned.Header = header
	canonical, err := CanonicalRequest(&unsigned, body, signed)
	if err != nil {
		return fmt.Errorf("sigv4x509: %w", err)
	}
	scope := strings.Join([]string{date[:8], region, service, terminator}, "/")
	digest := sha256.Sum256([]byte(StringToSign(algorithm, date, scope, canonical)))
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	header.Set("Authorization", fmt.Sprintf("%s Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		algorithm, chain[0].SerialNumber, scope, strings.Join(signed, ";"), hex.EncodeToString(signature)))
	r.Header = header
	return nil
}
