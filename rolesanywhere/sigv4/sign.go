// Package sigv4 signs and verifies HTTP requests with AWS credentials. The
// scheme is Signature Version 4 with a key that HMAC derives from the secret
// access key, in its form with an Authorization header. Query strings with a
// signature (presigned URLs) and chunked bodies are not supported.
//
// Source: AWS IAM User Guide, "Create a signed AWS API request". All functions
// are safe for concurrent use.
package sigv4

import (
	"crypto/fips140"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
)

// Algorithm is the name of the algorithm in the Authorization header.
const Algorithm = "AWS4-HMAC-SHA256"

// TimeFormat is the layout of the X-Amz-Date header, which is always in UTC.
const TimeFormat = sigv4x509.TimeFormat

const (
	dateHeader  = "X-Amz-Date"
	tokenHeader = "X-Amz-Security-Token"

	terminator = "aws4_request"
)

// Sign signs r for a service, such as "sts", in a region at the time t. body is
// the body of r. It uses the key and, unless it is empty, the session token of
// c, and ignores the other fields.
//
// Sign sets the headers X-Amz-Date, X-Amz-Security-Token if c has a token, and
// Authorization. The signature covers Host, Content-Type and all headers whose
// names begin with X-Amz-. It borrows its arguments. On error r is unchanged.
// Errors do not contain secrets.
func Sign(r *http.Request, body []byte, c credentials.Credentials, service, region string, t time.Time) error {
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return errors.New("sigv4: no access key")
	}
	header := r.Header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	date := t.UTC().Format(TimeFormat)
	header.Set(dateHeader, date)
	header.Del(tokenHeader)
	if c.SessionToken != "" {
		header.Set(tokenHeader, c.SessionToken)
	}
	req := &Request{
		AccessKeyID:   c.AccessKeyID,
		Region:        region,
		Service:       service,
		SignedHeaders: headersToSign(header),
		date:          date,
	}
	unsigned := *r
	unsigned.Header = header
	signature, err := req.sign(&unsigned, body, c.SecretAccessKey)
	if err != nil {
		return fmt.Errorf("sigv4: %w", err)
	}
	header.Set("Authorization", fmt.Sprintf("%s Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		Algorithm, req.AccessKeyID, req.scope(), strings.Join(req.SignedHeaders, ";"), hex.EncodeToString(signature)))
	r.Header = header
	return nil
}

// headersToSign returns the sorted names of the headers that a signature covers.
func headersToSign(header http.Header) []string {
	names := []string{"host"}
	for name := range header {
		if name = strings.ToLower(name); name == "content-type" || strings.HasPrefix(name, "x-amz-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// minFIPSKey is the length in bytes below which package crypto/hmac panics if only
// approved algorithms are allowed (SP 800-131A, section 10). AWS has no such keys.
const minFIPSKey = 14

// sign returns the signature over r and body. It uses the fields that are in the
// Authorization header.
func (req *Request) sign(r *http.Request, body []byte, secret string) ([]byte, error) {
	canonical, err := sigv4x509.CanonicalRequest(r, body, req.SignedHeaders)
	if err != nil {
		return nil, err
	}
	toSign := sigv4x509.StringToSign(Algorithm, req.date, req.scope(), canonical)
	key := []byte("AWS4" + secret)
	if fips140.Enforced() && len(key) < minFIPSKey {
		return nil, fmt.Errorf("a secret access key of %d bytes is not allowed in FIPS mode: %w", len(secret), errors.ErrUnsupported)
	}
	for _, s := range []string{req.date[:8], req.Region, req.Service, terminator, toSign} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(s))
		key = mac.Sum(nil)
	}
	return key, nil
}

func (req *Request) scope() string {
	return strings.Join([]string{req.date[:8], req.Region, req.Service, terminator}, "/")
}
