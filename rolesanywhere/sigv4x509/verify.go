package sigv4x509

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/mldsa"
)

// Errors of [Parse] and [Verify]; test for them with errors.Is.
var (
	ErrMalformed = errors.New("sigv4x509: malformed signed request")
	ErrSignature = errors.New("sigv4x509: signature does not verify")
)

// A Request holds the signature fields of a signed request. Do not trust them
// until [Request.Verify] has returned nil, and do not trust the identity in the
// certificate until its chain is verified.
type Request struct {
	Algorithm     string
	Certificate   *x509.Certificate
	Chain         []*x509.Certificate // intermediates, in the order sent
	Region        string
	Time          time.Time // from X-Amz-Date; the caller checks its age
	SignedHeaders []string

	date, scope string
	signature   []byte
}

// maxRSABits limits the time to verify a signature, which grows with the square
// of a key size that the sender chooses. crypto/tls has the same limit.
const maxRSABits = 8192

// Verify parses r and verifies its signature. It checks neither the time nor
// the chain and validity of the certificate.
func Verify(r *http.Request, body []byte) (*Request, error) {
	req, err := Parse(r)
	if err != nil {
		return nil, err
	}
	if err := req.Verify(r, body); err != nil {
		return nil, err
	}
	return req, nil
}

// Parse parses the headers of a signed request without verifying the signature.
// Its errors wrap [ErrMalformed].
func Parse(r *http.Request) (*Request, error) {
	req, err := parse(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return req, nil
}

func parse(r *http.Request) (*Request, error) {
	for _, name := range []string{"Authorization", dateHeader, certHeader} {
		if n := len(r.Header.Values(name)); n != 1 {
			return nil, fmt.Errorf("%d %s headers, want 1", n, name)
		}
	}
	req := new(Request)
	serial, signedHeaders, err := req.parseAuthorization(r.Header.Get("Authorization"))
	if err != nil {
		return nil, err
	}

	req.date = r.Header.Get(dateHeader)
	if req.Time, err = time.Parse(TimeFormat, req.date); err != nil {
		return nil, fmt.Errorf("%s: %w", dateHeader, err)
	}
	if req.Time.Format(TimeFormat) != req.date { // time.Parse accepts a fraction
		return nil, fmt.Errorf("%s contains a fraction of a second", dateHeader)
	}
	if !strings.HasPrefix(req.scope, req.date[:8]+"/") {
		return nil, fmt.Errorf("date of %s differs from the date of the credential scope", dateHeader)
	}

	if req.Certificate, err = parseCertificate(r.Header.Get(certHeader)); err != nil {
		return nil, fmt.Errorf("%s: %w", certHeader, err)
	}
	if want := req.Certificate.SerialNumber.String(); serial != want {
		return nil, errors.New("the credential does not begin with the certificate's serial number in decimal")
	}
	if algorithm, err := Algorithm(mldsa.PublicKeyOf(req.Certificate)); err != nil {
		return nil, err
	} else if algorithm != req.Algorithm {
		return nil, fmt.Errorf("algorithm is %s, but the certificate's key requires %s", req.Algorithm, algorithm)
	}

	required := []string{"host", "x-amz-date", "x-amz-x509"}
	if len(r.Header.Values("Content-Type")) > 0 {
		required = append(required, "content-type")
	}
	if values := r.Header.Values(chainHeader); len(values) > 0 {
		required = append(required, "x-amz-x509-chain")
		parts := strings.Split(strings.Join(values, ","), ",")
		if len(parts) > MaxChain {
			return nil, fmt.Errorf("%s contains %d certificates; at most %d are allowed", chainHeader, len(parts), MaxChain)
		}
		for _, p := range parts {
			c, err := parseCertificate(p)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", chainHeader, err)
			}
			req.Chain = append(req.Chain, c)
		}
	}
	req.SignedHeaders = strings.Split(signedHeaders, ";")
	// With repeated names, a small request could have a huge canonical
	// form.
	distinct := len(slices.Compact(slices.Clone(req.SignedHeaders))) == len(req.SignedHeaders)
	if !distinct || !slices.IsSorted(req.SignedHeaders) || signedHeaders != strings.ToLower(signedHeaders) {
		return nil, errors.New("SignedHeaders must be distinct, sorted and in lower case")
	}
	for _, name := range required {
		if !slices.Contains(req.SignedHeaders, name) {
			return nil, fmt.Errorf("header %s is not signed", name)
		}
	}
	return req, nil
}

var algorithms = []string{RSA, ECDSA, MLDSA}

// parseAuthorization splits "ALG Credential=SERIAL/DATE/REGION/SERVICE/TERMINATOR,
// SignedHeaders=A;B, Signature=HEX".
func (req *Request) parseAuthorization(s string) (serial, signedHeaders string, err error) {
	algorithm, rest, ok := strings.Cut(s, " ")
	if !ok || !slices.Contains(algorithms, algorithm) {
		return "", "", errors.New("the Authorization header does not begin with a known algorithm")
	}
	req.Algorithm = algorithm
	parts := strings.Split(rest, ",")
	fields := make(map[string]string)
	for _, part := range parts {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[k] = v
	}
	credential, signedHeaders, signature := fields["Credential"], fields["SignedHeaders"], fields["Signature"]
	if len(parts) != 3 || credential == "" || signedHeaders == "" || signature == "" {
		return "", "", errors.New("the Authorization header must contain exactly Credential, SignedHeaders and Signature")
	}
	serial, req.scope, _ = strings.Cut(credential, "/")
	parts = strings.Split(req.scope, "/")
	if len(parts) != 4 || parts[1] == "" || parts[2] != service || parts[3] != terminator {
		return "", "", fmt.Errorf("the credential does not have the form SERIAL/DATE/REGION/%s/%s", service, terminator)
	}
	req.Region = parts[1]
	if req.signature, err = hex.DecodeString(signature); err != nil {
		return "", "", errors.New("the signature is not hexadecimal")
	}
	return serial, signedHeaders, nil
}

func parseCertificate(s string) (*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if pub, ok := cert.PublicKey.(*rsa.PublicKey); ok && pub.N.BitLen() > maxRSABits {
		return nil, fmt.Errorf("the RSA key has %d bits; at most %d are allowed", pub.N.BitLen(), maxRSABits)
	}
	return cert, nil
}

// Verify verifies the signature over r and body with the certificate's key. The
// error wraps [ErrSignature] or [ErrMalformed].
func (req *Request) Verify(r *http.Request, body []byte) error {
	canonical, err := CanonicalRequest(r, body, req.SignedHeaders)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	message := []byte(StringToSign(req.Algorithm, req.date, req.scope, canonical))
	digest := sha256.Sum256(message)
	switch pub := mldsa.PublicKeyOf(req.Certificate).(type) {
	case *rsa.PublicKey:
		if rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], req.signature) == nil {
			return nil
		}
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(pub, digest[:], req.signature) {
			return nil
		}
	default:
		if key := mldsa.Of(pub); key != nil && key.Verify(message, req.signature) {
			return nil
		}
	}
	return ErrSignature
}
