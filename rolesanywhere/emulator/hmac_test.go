package emulator

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
)

const (
	sigV4           = "AWS4-HMAC-SHA256"
	sigV4Terminator = "aws4_request"
	headerDate      = "X-Amz-Date"
)

// An authorization is the content of an Authorization header. Unlike
// [sigv4.Sign], it signs any headers and any scope.
type authorization struct {
	accessKeyID           string
	date, region, service string
	signedHeaders         []string
	signature             []byte
}

// sign returns the signature over r at the time in its X-Amz-Date header.
//
// Source: AWS IAM User Guide, "Create a signed AWS API request".
func (a authorization) sign(r *http.Request, body []byte, secret string) ([]byte, error) {
	canonical, err := sigv4x509.CanonicalRequest(r, body, a.signedHeaders)
	if err != nil {
		return nil, err
	}
	toSign := sigv4x509.StringToSign(sigV4, r.Header.Get(headerDate), a.scope(), canonical)
	key := []byte("AWS4" + secret)
	for _, s := range []string{a.date, a.region, a.service, sigV4Terminator, toSign} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(s))
		key = mac.Sum(nil)
	}
	return key, nil
}

func (a authorization) scope() string {
	return strings.Join([]string{a.date, a.region, a.service, sigV4Terminator}, "/")
}

func (a authorization) String() string {
	return sigV4 + " Credential=" + a.accessKeyID + "/" + a.scope() +
		", SignedHeaders=" + strings.Join(a.signedHeaders, ";") +
		", Signature=" + hex.EncodeToString(a.signature)
}
