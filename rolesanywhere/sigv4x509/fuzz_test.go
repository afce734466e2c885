package sigv4x509_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
)

// fixedKey makes deterministic signatures. All processes of a fuzzing run need
// the same seeds, so the key and certificate are derived from a constant.
type fixedKey struct{ *ecdsa.PrivateKey }

func (k fixedKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.PrivateKey.Sign(nil, digest, opts) // RFC 6979
}

func fixedCertificate(f *testing.F) (fixedKey, *x509.Certificate) {
	f.Helper()
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{1}, 32))
	if err != nil {
		f.Fatal(err)
	}
	key := fixedKey{private}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(4711),
		Subject:      pkix.Name{CommonName: "client"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Unix(1<<32, 0),
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		f.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		f.Fatal(err)
	}
	return key, cert
}

// sent holds the parts of a received request.
type sent struct {
	method, host, path, query               string
	authorization, date, cert, chain, media string
	body                                    string
}

func (s sent) request() *http.Request {
	r := &http.Request{Method: s.method, Host: s.host, URL: &url.URL{Path: s.path, RawQuery: s.query}, Header: make(http.Header)}
	for name, value := range map[string]string{
		"Authorization": s.authorization, "X-Amz-Date": s.date, "X-Amz-X509": s.cert, "X-Amz-X509-Chain": s.chain, "Content-Type": s.media,
	} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	return r
}

// normalized removes differences that do not change the meaning of a request.
func (s sent) normalized() (sent, url.Values) {
	algorithm, rest, _ := strings.Cut(s.authorization, " ")
	var fields []string
	for part := range strings.SplitSeq(rest, ",") {
		part = strings.TrimSpace(part)
		if strings.HasPrefix(part, "Signature=") {
			part = "Signature=" + strings.ToLower(strings.TrimPrefix(part, "Signature="))
		}
		fields = append(fields, part)
	}
	slices.Sort(fields)
	s.authorization = algorithm + " " + strings.Join(fields, ",")
	query, _ := url.ParseQuery(s.query)
	for _, values := range query {
		slices.Sort(values)
	}
	s.query = ""
	for _, value := range []*string{&s.host, &s.cert, &s.chain, &s.media} {
		*value = strings.Join(strings.FieldsFunc(*value, func(r rune) bool { return strings.ContainsRune(" \t\r\n", r) }), " ")
	}
	if s.path == "" {
		s.path = "/"
	}
	return s, query
}

func FuzzVerify(f *testing.F) {
	key, cert := fixedCertificate(f)
	valid := sent{
		method: "POST", host: "rolesanywhere.eu-central-1.amazonaws.com", path: "/sessions", query: "b=2&a=1&a=0",
		media: "application/json", body: `{"durationSeconds":3600}`,
	}
	r := valid.request()
	if err := sigv4x509.Sign(r, []byte(valid.body), key, []*x509.Certificate{cert, cert}, "eu-central-1", now); err != nil {
		f.Fatal(err)
	}
	valid.authorization, valid.date = r.Header.Get("Authorization"), r.Header.Get("X-Amz-Date")
	valid.cert, valid.chain = r.Header.Get("X-Amz-X509"), r.Header.Get("X-Amz-X509-Chain")
	if _, err := sigv4x509.Verify(valid.request(), []byte(valid.body)); err != nil {
		f.Fatalf("the seed does not verify: %v", err)
	}
	wantSent, wantQuery := valid.normalized()

	add := func(change func(*sent)) {
		s := valid
		change(&s)
		f.Add(s.method, s.host, s.path, s.query, s.authorization, s.date, s.cert, s.chain, s.media, s.body)
	}
	add(func(*sent) {})
	add(func(s *sent) { s.query = "a=0&b=2&a=%31" })
	add(func(s *sent) { s.authorization = strings.ReplaceAll(s.authorization, ", ", ",") })
	add(func(s *sent) { s.authorization = strings.Replace(s.authorization, "ECDSA", "RSA", 1) })
	add(func(s *sent) { s.authorization = strings.Replace(s.authorization, ";x-amz-x509-chain", "", 1) })
	add(func(s *sent) { s.authorization = strings.Replace(s.authorization, "4711", "1267", 1) })
	add(func(s *sent) { s.date = "20261122T003015.1Z" })
	add(func(s *sent) { s.cert = s.cert[:40] })
	add(func(s *sent) { s.chain = strings.Repeat(s.cert+",", 5) + s.cert })
	add(func(s *sent) { s.media = "" })
	add(func(s *sent) { *s = sent{} })

	f.Fuzz(func(t *testing.T, method, host, path, query, authorization, date, cert, chain, media, body string) {
		s := sent{method, host, path, query, authorization, date, cert, chain, media, body}
		req, err := sigv4x509.Verify(s.request(), []byte(body))
		if err != nil {
			if req != nil || errors.Is(err, sigv4x509.ErrMalformed) == errors.Is(err, sigv4x509.ErrSignature) {
				t.Errorf("request %v, error %v; want a nil request and either ErrMalformed or ErrSignature", req, err)
			}
			return
		}
		gotSent, gotQuery := s.normalized()
		if gotSent != wantSent || !reflect.DeepEqual(gotQuery, wantQuery) {
			t.Errorf("a request verifies that differs from the signed one:\n%+v\n%+v", gotSent, wantSent)
		}
	})
}
