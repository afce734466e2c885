package est_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/est"
	"github.com/holdfast-dev/holdfast/pki/renew/est/esttest"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A client is a key with a certificate and a server that is no EST server, except
// that it answers cacerts.
type client struct {
	*testing.T
	server  *httptest.Server
	way     *est.CA
	ca      *signertest.CA
	request renew.Request
}

func newClient(t *testing.T, enroll http.HandlerFunc) client {
	t.Helper()
	ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			send(w, 200, media, encoded(ca.Cert, ca.Root()))
			return
		}
		enroll(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	key := signer.FromKey(signertest.Key(t, "p256"))
	old := signer.WithCertificates(key, signer.Certificates{Chain: append([]*x509.Certificate{ca.Issue(t, key, nil)}, ca.Chain()...)})
	way := newWay(t, est.Config{URL: server.URL, Roots: rootsOf(server)})
	return client{t, server, way, ca, renew.Request{Old: old, CSR: newCSR(t, key, pki.CommonName("client"))}}
}

func rootsOf(server *httptest.Server) *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return roots
}

const media = "application/pkcs7-mime"

func send(w http.ResponseWriter, status int, media, body string) {
	w.Header().Set("Content-Type", media)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func encoded(certs ...*x509.Certificate) string { return inBase64(esttest.CertsOnly(certs...)) }

func inBase64(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

// An answer is what no EST server should answer, or what it answers when it refuses.
type answer struct {
	status      int
	media, body string
	class       error
	want        string // in the error
}

func answers(good *x509.Certificate) map[string]answer {
	rejected, unreachable := renew.ErrRejected, renew.ErrUnreachable
	const notCMS, notBase64 = "not a certs-only CMS message", "not base64"
	der := esttest.CertsOnly(good)
	cut := func(from, to string) string { return inBase64(bytes.Replace(der, []byte(from), []byte(to), 1)) }
	signed := "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02" // the OID of SignedData
	many := slices.Repeat([]*x509.Certificate{good}, 33)
	return map[string]answer{
		"400":                      {400, "", "", rejected, "status 400"},
		"400 with a reason":        {400, "text/plain", "the key is too short\n", rejected, "status 400: the key is too short"},
		"400 in HTML":              {400, "text/html", "<html>", rejected, "status 400"},
		"401":                      {401, "", "", rejected, "status 401"},
		"403":                      {403, "text/plain; charset=utf-8", "no\n\x1b[31mnever\x00\u202e", rejected, "no  [31mnever"},
		"403, a long reason":       {403, "text/plain", strings.Repeat("no ", 50_000), rejected, "no no no"},
		"404":                      {404, "text/plain", "404 page not found", unreachable, "status 404: 404 page"},
		"405":                      {405, "", "", unreachable, "status 405"},
		"406":                      {406, "", "", unreachable, "status 406"},
		"415":                      {415, "", "", unreachable, "status 415"},
		"418":                      {418, "", "", unreachable, "status 418"},
		"429":                      {429, "", "", unreachable, "status 429"},
		"500":                      {500, "text/plain", "no database", unreachable, "status 500: no database"},
		"501":                      {501, "", "", unreachable, "status 501"},
		"502 of a proxy":           {502, "text/html", "<html>Bad Gateway</html>", unreachable, "status 502"},
		"503, endless":             {503, "text/plain", strings.Repeat("x", 2<<20), unreachable, "more than 1024 KiB"},
		"201":                      {201, media, encoded(good), unreachable, "status 201"},
		"204":                      {204, media, "", unreachable, "status 204"},
		"206":                      {206, media, encoded(good), unreachable, "status 206"},
		"304":                      {304, "", "", unreachable, "redirect"},
		"200, empty":               {200, media, "", unreachable, notCMS},
		"200, no media type":       {200, "", encoded(good), unreachable, `media type "" instead of`},
		"200, HTML":                {200, "text/html", "<html>hello</html>", unreachable, `media type "text/html" instead of`},
		"200, another media type":  {200, "application/pkcs10", encoded(good), unreachable, `media type "application/pkcs10"`},
		"200, a bad media type":    {200, "a b c;;", encoded(good), unreachable, "media type"},
		"200, multipart":           {200, "multipart/mixed; boundary=x", encoded(good), unreachable, "multipart/mixed"},
		"200, text":                {200, media, "hello, world", unreachable, notBase64},
		"200, PEM":                 {200, media, string(signertest.CertPEM(good)), unreachable, notBase64},
		"200, binary":              {200, media, string(der), unreachable, notBase64},
		"200, cut base64":          {200, media, encoded(good)[:101], unreachable, notBase64},
		"200, cut DER":             {200, media, encoded(good)[:100], unreachable, notCMS},
		"200, more after it":       {200, media, inBase64(append(slices.Clone(der), 0)), unreachable, notCMS},
		"200, a certificate":       {200, media, inBase64(good.Raw), unreachable, notCMS},
		"200, BER":                 {200, media, inBase64([]byte("\x30\x80\x06\x00\x00\x00")), unreachable, "BER instead of DER"},
		"200, another type":        {200, media, cut(signed, "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"), unreachable, notCMS},
		"200, encapsulated":        {200, media, cut("\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01", signed), unreachable, notCMS},
		"200, another version":     {200, media, cut("\x02\x01\x01", "\x02\x01\x03"), unreachable, notCMS},
		"200, signed":              {200, media, inBase64(withSigner(der)), unreachable, notCMS},
		"200, no certificates":     {200, media, encoded(), unreachable, "no certificate"},
		"200, many":                {200, media, encoded(many...), unreachable, "more than 32 certificates"},
		"200, no certificate":      {200, media, encoded(&x509.Certificate{Raw: []byte{0x30, 0}}), unreachable, "damaged"},
		"200, garbage in it":       {200, media, encoded(&x509.Certificate{Raw: []byte("hello")}), unreachable, notCMS},
		"200, an attribute":        {200, media, encoded(&x509.Certificate{Raw: []byte{0xa2, 0}}), unreachable, "damaged"},
		"200, huge":                {200, media, strings.Repeat("A", 2<<20), unreachable, "more than 1024 KiB"},
		"200, deep":                {200, media, inBase64(deep()), unreachable, notCMS},
		"200, negative length":     {200, media, inBase64([]byte("\x30\x84\xff\xff\xff\xff\x06")), unreachable, notCMS},
		"200, an object without 0": {200, media, inBase64([]byte("\x30\x0b\x06\x09" + signed)), unreachable, notCMS},
	}
}

// withSigner returns the message with one signer in its last set.
func withSigner(der []byte) []byte {
	var info struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue
	}
	var data []asn1.RawValue
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		panic(err)
	}
	if _, err := asn1.Unmarshal(info.Content.Bytes, &data); err != nil {
		panic(err)
	}
	data[len(data)-1] = asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: []byte{0x30, 0}}
	inner, err := asn1.Marshal(data)
	if err != nil {
		panic(err)
	}
	info.Content = asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: inner}
	if der, err = asn1.Marshal(info); err != nil {
		panic(err)
	}
	return der
}

func deep() []byte {
	der := []byte{}
	for range 2000 {
		wrapped, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: der})
		if err != nil {
			panic(err)
		}
		der = wrapped
	}
	return der
}

func TestBadAnswers(t *testing.T) {
	var a answer
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) { send(w, a.status, a.media, a.body) })
	all := answers(c.request.Old.Chain()[0])
	for name := range all {
		t.Run(name, func(t *testing.T) {
			a = all[name]
			for what, do := range map[string]func() error{
				"renewal":   func() error { _, err := c.way.Renew(t.Context(), c.request); return err },
				"enrolment": func() error { _, err := c.way.Enroll(t.Context(), c.request.CSR, password); return err },
			} {
				err := do()
				if !errors.Is(err, a.class) || errors.Is(err, renew.ErrRejected) && errors.Is(err, renew.ErrUnreachable) {
					t.Errorf("%s: %v", what, err)
					continue
				}
				if !strings.Contains(err.Error(), a.want) || !strings.HasPrefix(err.Error(), strings.TrimPrefix(c.server.URL, "https://")) || signer.Hint(err) == "" {
					t.Errorf("%s: %v, want %q; hint: %s", what, err, a.want, signer.Hint(err))
				}
				if len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\n\x1b\x00\u202e") {
					t.Errorf("%s: %q", what, err)
				}
			}
		})
	}
	if len(all) < 25 {
		t.Error("too few answers")
	}
}

// Whatever RFC 8951 allows is accepted.
func TestGoodAnswers(t *testing.T) {
	var a answer
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Transfer-Encoding", a.want)
		send(w, 200, a.media, a.body)
	})
	leaf := c.request.Old.Chain()[0]
	text := encoded(leaf)
	for name, good := range map[string]answer{
		"one line":          {media: media, body: text},
		"a type of S/MIME":  {media: "Application/PKCS7-MIME; smime-type=certs-only; name=x", body: text},
		"lines":             {media: media, body: text[:64] + "\r\n" + text[64:128] + "\n" + text[128:] + "\n", want: "base64"},
		"spaces":            {media: media, body: " \t" + text[:64] + " " + text[64:] + "\r\n\r\n"},
		"said to be binary": {media: media, body: text, want: "binary"},
		"with its issuers":  {media: media, body: encoded(leaf, c.ca.Cert, c.ca.Root())},
	} {
		a = good
		certs, err := c.way.Renew(t.Context(), c.request)
		if err != nil || len(certs) < 3 || !certs[0].Equal(leaf) {
			t.Errorf("%s: %d certificates, %v", name, len(certs), err)
		}
	}
}

// A CA can ask to wait, for a time that is bounded.
func TestWait(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	var field string
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", field)
		w.WriteHeader(http.StatusAccepted)
	})
	c.way = newWay(t, est.Config{URL: c.server.URL, Roots: rootsOf(c.server), Now: func() time.Time { return now }})
	const most = 7 * 24 * time.Hour
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, " 5 ": 5 * time.Second, "99999999": most, "99999999999999999999999": most,
		"-5": 0, "1.5": 0, "soon": 0, "+5": 0, "5s": 0,
		"Sun, 01 Nov 2026 12:10:00 GMT": 10 * time.Minute, "Sunday, 01-Nov-26 12:01:00 GMT": time.Minute,
		"Sun, 01 Nov 2026 11:00:00 GMT": 0, "Fri, 01 Jan 2100 00:00:00 GMT": most, "Sun, 01 Nov 2026 12:10:00 CET": 0,
	} {
		field = value
		_, err := c.way.Renew(t.Context(), c.request)
		var wait *renew.WaitError
		if !errors.As(err, &wait) || wait.After != want || signer.Hint(err) == "" {
			t.Errorf("%q: %v, want %v", value, err, want)
		}
	}
}

// A certificate for another key does not enrol.
func TestAnotherKey(t *testing.T) {
	var c client
	c = newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		send(w, 200, media, encoded(c.ca.Issue(c, signertest.Key(c, "p384"), nil)))
	})
	_, err := c.way.Enroll(t.Context(), c.request.CSR, password)
	wantUnreachable(t, err, "another key", "other than an EST server")
}
