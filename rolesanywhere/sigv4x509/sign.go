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
	_ "crypto/sha256" // for crypto.SignMessage
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/mldsa"
)

// The names of the algorithms. ECDSA uses SHA-256 on every curve, RSA uses
// PKCS #1 v1.5 padding. ML-DSA has one name for all parameter sets; it signs the
// string itself, with the empty context, and not its hash.
const (
	RSA   = "AWS4-X509-RSA-SHA256"
	ECDSA = "AWS4-X509-ECDSA-SHA256"
	MLDSA = "AWS4-X509-MLDSA"
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
	if mldsa.Of(pub) != nil {
		return MLDSA, nil
	}
	return "", fmt.Errorf("sigv4x509: the key is neither RSA nor ECDSA nor ML-DSA: %w", errors.ErrUnsupported)
}

// hashOf returns the hash of the string to sign, or 0 if it is not hashed.
func hashOf(algorithm string) crypto.Hash {
	if algorithm == MLDSA {
		return 0
	}
	return crypto.SHA256
}

// Sign signs r for a region at the time t. body is the body of r. key must be
// the key of the leaf chain[0]; the leaf is followed by at most [MaxChain]
// intermediates, its issuer first, without the root.
//
// A key that is a [crypto.MessageSigner] gets the string to sign; any other key gets
// its hash, or the string if it is an ML-DSA key.
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
	pub := mldsa.PublicKeyOf(chain[0])
	algorithm, err := Algorithm(pub)
	if err != nil {
		return err
	}
	if own := mldsa.Of(pub); own != nil {
		pub = own // which is equal to such a key of another package, too
	}
	if certified, ok := pub.(interface{ Equal(crypto.PublicKey) bool }); !ok || !certified.Equal(key.Public()) {
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
	message := []byte(StringToSign(algorithm, date, scope, canonical))
	signature, err := crypto.SignMessage(key, rand.Reader, message, hashOf(algorithm))
	if err != nil {
		return err
	}
	header.Set("Authorization", fmt.Sprintf("%s Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		algorithm, chain[0].SerialNumber, scope, strings.Join(signed, ";"), hex.EncodeToString(signature)))
	r.Header = header
	return nil
}
