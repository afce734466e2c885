package sigv4

import (
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Errors of [Parse] and [Request.Verify]; test for them with errors.Is.
var (
	ErrMalformed = errors.New("malformed signed request")
	ErrSignature = errors.New("signature does not verify")
)

// A Request holds the signature fields of a signed request. Do not trust them
// until [Request.Verify] has returned nil.
type Request struct {
	AccessKeyID     string
	Region, Service string
	Time            time.Time // from X-Amz-Date; the caller checks its age
	SignedHeaders   []string

	date      string // as in X-Amz-Date
	signature []byte
}

// Parse parses the headers of a signed request without verifying the signature.
// The request must sign Host, and of the headers that it has, Content-Type and all
// whose names begin with X-Amz-. The errors wrap [ErrMalformed].
//
// Source: AWS IAM User Guide, "Create a signed AWS API request".
func Parse(r *http.Request) (*Request, error) {
	req, err := parse(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return req, nil
}

func parse(r *http.Request) (*Request, error) {
	for _, name := range []string{"Authorization", dateHeader} {
		if n := len(r.Header.Values(name)); n != 1 {
			return nil, fmt.Errorf("%d %s headers, want 1", n, name)
		}
	}
	if n := len(r.Header.Values(tokenHeader)); n > 1 {
		return nil, fmt.Errorf("%d %s headers, want at most 1", n, tokenHeader)
	}
	req := &Request{date: r.Header.Get(dateHeader)}
	var err error
	if req.Time, err = time.Parse(TimeFormat, req.date); err != nil || req.Time.Format(TimeFormat) != req.date { // time.Parse accepts a fraction
		return nil, fmt.Errorf("%s is not of the form YYYYMMDDTHHMMSSZ", dateHeader)
	}
	if err := req.parseAuthorization(r.Header.Get("Authorization")); err != nil {
		return nil, err
	}
	for _, name := range headersToSign(r.Header) {
		if !slices.Contains(req.SignedHeaders, name) {
			return nil, fmt.Errorf("header %s is not signed", name)
		}
	}
	return req, nil
}

// parseAuthorization parses "AWS4-HMAC-SHA256 Credential=KEY/SCOPE,
// SignedHeaders=A;B, Signature=HEX".
func (req *Request) parseAuthorization(header string) error {
	algorithm, rest, _ := strings.Cut(header, " ")
	if algorithm != Algorithm {
		return errors.New("algorithm is not " + Algorithm)
	}
	parts := strings.Split(rest, ",")
	fields := make(map[string]string, len(parts))
	for _, part := range parts {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[k] = v
	}
	credential, signedHeaders, signature := fields["Credential"], fields["SignedHeaders"], fields["Signature"]
	if len(parts) != 3 || credential == "" || signedHeaders == "" || signature == "" {
		return errors.New("the Authorization header must contain exactly Credential, SignedHeaders and Signature")
	}
	scope := strings.Split(credential, "/")
	if len(scope) != 5 || slices.Contains(scope, "") || scope[4] != terminator {
		return errors.New("the credential does not have the form KEY/DATE/REGION/SERVICE/" + terminator)
	}
	if scope[1] != req.date[:8] {
		return fmt.Errorf("date of %s differs from the date of the credential scope", dateHeader)
	}
	req.AccessKeyID, req.Region, req.Service = scope[0], scope[2], scope[3]
	req.SignedHeaders = strings.Split(signedHeaders, ";")
	// With repeated names, a small request could have a huge canonical
	// form.
	distinct := len(slices.Compact(slices.Clone(req.SignedHeaders))) == len(req.SignedHeaders)
	if !distinct || !slices.IsSorted(req.SignedHeaders) || signedHeaders != strings.ToLower(signedHeaders) {
		return errors.New("SignedHeaders must be distinct, sorted and in lower case")
	}
	var err error
	if req.signature, err = hex.DecodeString(signature); err != nil {
		return errors.New("the signature is not hexadecimal")
	}
	return nil
}

// Verify verifies the signature over r and body with the secret access key that
// belongs to AccessKeyID. It takes the same time for every wrong signature. The
// error wraps [ErrSignature] or [ErrMalformed]. The caller compares the session
// token, which Verify does not know.
func (req *Request) Verify(r *http.Request, body []byte, secretAccessKey string) error {
	want, err := req.sign(r, body, secretAccessKey)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if !hmac.Equal(want, req.signature) {
		return ErrSignature
	}
	return nil
}
