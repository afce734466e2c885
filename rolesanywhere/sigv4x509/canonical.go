package sigv4x509

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// CanonicalRequest returns the canonical form of r with the given body, as
// Signature Version 4 defines it for all services except S3. signedHeaders must
// be in lower case and sorted. It is an error if r lacks a signed header or if
// the query cannot be parsed. The path is not normalized: "." and ".." segments
// and repeated slashes are kept.
//
// Source: AWS IAM User Guide, "Create a signed AWS API request".
func CanonicalRequest(r *http.Request, body []byte, signedHeaders []string) (string, error) {
	query, err := canonicalQuery(r.URL.RawQuery)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(r.Method + "\n" + canonicalPath(r.URL) + "\n" + query + "\n")
	for _, name := range signedHeaders {
		values := headerValues(r, name)
		if len(values) == 0 {
			return "", fmt.Errorf("signed header %q is missing", name)
		}
		b.WriteString(name + ":")
		for i, v := range values {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.Join(strings.FieldsFunc(v, isSpace), " "))
		}
		b.WriteByte('\n')
	}
	sum := sha256.Sum256(body)
	b.WriteString("\n" + strings.Join(signedHeaders, ";") + "\n" + hex.EncodeToString(sum[:]))
	return b.String(), nil
}

// isSpace reports whether r is an ASCII space. It includes line breaks,
// although a header cannot contain them, so that no value adds a line to the
// canonical form.
func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }

// StringToSign returns the string that the key signs: the algorithm, the time
// as in X-Amz-Date, the credential scope and the hash of the canonical request.
func StringToSign(algorithm, date, scope, canonicalRequest string) string {
	sum := sha256.Sum256([]byte(canonicalRequest))
	return algorithm + "\n" + date + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
}

// headerValues returns the values of a header. net/http keeps the host outside
// r.Header.
func headerValues(r *http.Request, name string) []string {
	if name != "host" {
		return r.Header.Values(name)
	}
	if host := cmp.Or(r.Host, r.URL.Host); host != "" {
		return []string{host}
	}
	return nil
}

// canonicalPath escapes the path a second time.
func canonicalPath(u *url.URL) string {
	p := u.EscapedPath()
	if p == "" {
		return "/"
	}
	return escape(p, true)
}

func canonicalQuery(raw string) (string, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return "", fmt.Errorf("query: %w", err)
	}
	pairs := make([][2]string, 0, len(values))
	for k, vs := range values {
		for _, v := range vs {
			pairs = append(pairs, [2]string{escape(k, false), escape(v, false)})
		}
	}
	slices.SortFunc(pairs, func(a, b [2]string) int {
		return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1]))
	})
	var b strings.Builder
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p[0] + "=" + p[1])
	}
	return b.String(), nil
}

// escape percent-encodes all characters except the unreserved ones (RFC 3986,
// section 2.3), with upper-case digits. net/url encodes fewer characters.
func escape(s string, keepSlash bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9',
			c == '-', c == '.', c == '_', c == '~', c == '/' && keepSlash:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}
