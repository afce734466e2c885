package emulator

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
)

const (
	sigV4           = "AWS4-HMAC-SHA256"
	sigV4Service    = "sts"
	sigV4Terminator = "aws4_request"

	headerDate  = "X-Amz-Date"
	headerToken = "X-Amz-Security-Token"
)

// An authorization is a parsed Authorization header of Signature Version 4. Do
// not trust it until the signature is verified.
type authorization struct {
	accessKeyID           string
	date, region, service string
	signedHeaders         []string
	signature             []byte
}

// parseAuthorization parses an Authorization header. fault describes the first
// problem; it is "" if there is none.
func parseAuthorization(header string) (a authorization, fault string) {
	algorithm, rest, _ := strings.Cut(header, " ")
	if algorithm != sigV4 {
		return authorization{}, "algorithm is not " + sigV4
	}
	fields := make(map[string]string, 3)
	for part := range strings.SplitSeq(rest, ",") {
		k, v, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, duplicate := fields[k]; !ok || duplicate || v == "" {
			return authorization{}, "Authorization is not a list of distinct name=value pairs"
		}
		fields[k] = v
	}
	if len(fields) != 3 || fields["Credential"] == "" || fields["SignedHeaders"] == "" || fields["Signature"] == "" {
		return authorization{}, "Authorization must contain exactly Credential, SignedHeaders and Signature"
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || slices.Contains(scope, "") || scope[4] != sigV4Terminator {
		return authorization{}, "Credential does not have the form KEY/DATE/REGION/SERVICE/" + sigV4Terminator
	}
	a = authorization{accessKeyID: scope[0], date: scope[1], region: scope[2], service: scope[3]}
	a.signedHeaders = strings.Split(fields["SignedHeaders"], ";")
	// With repeated names, a small request could have a huge canonical
	// form.
	distinct := len(slices.Compact(slices.Clone(a.signedHeaders))) == len(a.signedHeaders)
	if !distinct || !slices.IsSorted(a.signedHeaders) || strings.ToLower(fields["SignedHeaders"]) != fields["SignedHeaders"] {
		return authorization{}, "SignedHeaders must be distinct, sorted and in lower case"
	}
	for _, name := range []string{"host", "x-amz-date", "x-amz-security-token"} {
		if !slices.Contains(a.signedHeaders, name) {
			return authorization{}, "header " + name + " is not signed"
		}
	}
	var err error
	if a.signature, err = hex.DecodeString(fields["Signature"]); err != nil {
		return authorization{}, "Signature is not hexadecimal"
	}
	return a, ""
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
