package stepca_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/stepca"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A client is a key with a certificate and a server that is not step-ca.
type client struct {
	*testing.T
	server  *httptest.Server
	way     *stepca.CA
	ca      *signertest.CA
	request renew.Request
}

func newClient(t *testing.T, handler http.HandlerFunc) client {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
	key := signer.FromKey(signertest.Key(t, "p256"))
	old := signer.WithCertificates(key, signer.Certificates{Chain: append([]*x509.Certificate{ca.Issue(t, key, nil)}, ca.Chain()...)})
	roots := poolOf([]*x509.Certificate{server.Certificate()})
	return client{t, server, newWay(t, stepca.Config{URL: server.URL, Roots: roots}), ca, renew.Request{Old: old, CSR: newCSR(t, key, names())}}
}

// An answer is what no step-ca should answer, or what it answers when it refuses.
type answer struct {
	status int
	body   string
	class  error
	want   string // in the error
}

func answers(good []string) map[string]answer {
	chain := func(texts ...string) string {
		data, err := json.Marshal(map[string]any{"crt": good[0], "certChain": texts})
		if err != nil {
			panic(err)
		}
		return string(data)
	}
	rejected, unreachable := renew.ErrRejected, renew.ErrUnreachable
	const notPEM, notJSON = "not one certificate in PEM", "not the JSON of step-ca"
	return map[string]answer{
		"400 with a reason":           {400, `{"status":400,"message":"missing csr"}`, rejected, "missing csr"},
		"400 without":                 {400, `<html>`, unreachable, "status 400"},
		"401":                         {401, ``, rejected, "status 401"},
		"401 with a reason":           {401, `{"status":401,"message":"certificate has been revoked"}`, rejected, "revoked"},
		"401, a reason of many lines": {401, `{"message":"no\n\u001b[31mnever\u0000\u202e"}`, rejected, "no  [31mnever"},
		"401, a long reason":          {401, `{"message":"` + strings.Repeat("no ", 50_000) + `"}`, rejected, "no no no"},
		"401, a reason that is none":  {401, `{"message":7}`, rejected, "status 401"},
		"403":                         {403, `{"status":403,"message":"forbidden"}`, rejected, "forbidden"},
		"404":                         {404, `404 page not found`, unreachable, "status 404"},
		"405":                         {405, ``, unreachable, "status 405"},
		"407":                         {407, ``, unreachable, "status 407"},
		"408":                         {408, ``, unreachable, "status 408"},
		"429":                         {429, `{"status":429,"message":"too many requests"}`, unreachable, "status 429: too many requests"},
		"500":                         {500, ``, unreachable, "status 500"},
		"500 with a reason":           {500, `{"status":500,"message":"The certificate authority encountered an Internal Server Error."}`, unreachable, "status 500: The certificate authority"},
		"500, another host":           {500, `{"message":"error validating renew token: invalid audience claim (aud)"}`, unreachable, "(aud)"},
		"502 of a proxy":              {502, `<html>Bad Gateway</html>`, unreachable, "status 502"},
		"503, endless":                {503, strings.Repeat("x", 2<<20), unreachable, "more than 1024 KiB"},
		"501":                         {501, `{"status":501,"message":"not implemented"}`, unreachable, "not implemented"},
		"200 with certificates":       {200, chain(good...), unreachable, "status 200"},
		"202":                         {202, ``, unreachable, "status 202"},
		"204":                         {204, ``, unreachable, "status 204"},
		"304":                         {304, ``, unreachable, "redirect"},
		"201, empty":                  {201, ``, unreachable, notJSON},
		"201, HTML":                   {201, `<html>hello</html>`, unreachable, notJSON},
		"201, null":                   {201, `null`, unreachable, "no certificate"},
		"201, an array":               {201, `[]`, unreachable, notJSON},
		"201, no chain":               {201, `{}`, unreachable, "no certificate"},
		"201, the leaf alone":         {201, `{"crt":""}`, unreachable, "no certificate"},
		"201, chain of another type":  {201, `{"certChain":"x"}`, unreachable, notJSON},
		"201, numbers":                {201, `{"certChain":[1]}`, unreachable, notJSON},
		"201, an empty text":          {201, chain(""), unreachable, notPEM},
		"201, an object":              {201, `{"certChain":[{}]}`, unreachable, notJSON},
		"201, cut off":                {201, chain(good...)[:500], unreachable, notJSON},
		"201, more after it":          {201, chain(good...) + "{}", unreachable, notJSON},
		"201, text for PEM":           {201, chain("certificate"), unreachable, notPEM},
		"201, text before PEM":        {201, chain("x\n" + good[0]), unreachable, notPEM},
		"201, text after PEM":         {201, chain(good[0] + "x"), unreachable, notPEM},
		"201, two in one":             {201, chain(good[0] + good[1]), unreachable, notPEM},
		"201, a private key":          {201, chain("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"), unreachable, notPEM},
		"201, a damaged certificate":  {201, chain(strings.Replace(good[0], "\nMII", "\nMIJ", 1)), unreachable, "damaged"},
		"201, no certificate in it":   {201, chain("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"), unreachable, "damaged"},
		"201, many":                   {201, chain(slices.Repeat(good[:1], 17)...), unreachable, "more than 16 certificates"},
		"201, huge":                   {201, `{"certChain":["` + strings.Repeat("x", 2<<20) + `"]}`, unreachable, "more than 1024 KiB"},
		"201, deep":                   {201, strings.Repeat(`[`, 100_000), unreachable, notJSON},
	}
}

func TestBadAnswers(t *testing.T) {
	var status int
	var body string
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	})
	var good []string
	for _, cert := range c.request.Old.Chain() {
		good = append(good, string(signertest.CertPEM(cert)))
	}
	for name, a := range answers(good) {
		t.Run(name, func(t *testing.T) {
			status, body = a.status, a.body
			token := strings.Repeat("x", 40) + ".e30.c2VjcmV0LXNlY3JldA"
			for what, do := range map[string]func() error{
				"renewal":   func() error { _, err := c.way.Renew(t.Context(), c.request); return err },
				"enrolment": func() error { _, err := c.way.Enroll(t.Context(), c.request.CSR, token); return err },
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
	status, body = 201, `{"certChain":[`+quote(good[0])+","+quote(good[1])+`],"more":{}}`
	if certs, err := c.way.Renew(t.Context(), c.request); err != nil || len(certs) != 2 {
		t.Errorf("a good answer: %d certificates, %v", len(certs), err)
	}
	if len(answers(good)) < 25 {
		t.Error("too few answers")
	}
}

func quote(s string) string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// A certificate for another key does not enrol; a Renewer refuses it as well.
func TestAnotherKey(t *testing.T) {
	var c client
	c = newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"certChain":[`+quote(string(signertest.CertPEM(c.ca.Issue(c, signertest.Key(c, "p384"), nil))))+`]}`)
	})
	_, err := c.way.Enroll(t.Context(), c.request.CSR, "e30.e30.AAAA")
	if !errors.Is(err, renew.ErrUnreachable) || !strings.Contains(err.Error(), "another key") {
		t.Error(err)
	}
	_, err = renew.New(c.renewer()).Renew(t.Context())
	if !errors.Is(err, renew.ErrUnfit) || !strings.Contains(err.Error(), "another key") {
		t.Error(err)
	}
}

// A server that quotes what it got does not bring a secret into an error.
func TestSecrets(t *testing.T) {
	const token, signature = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhcHAifQ.c2VjcmV0LXNlY3JldC1zZWNyZXQ", "c2VjcmV0LXNlY3JldC1zZWNyZXQ"
	for _, status := range []int{400, 401, 403, 429, 500} {
		var bearer string
		c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
			var body struct{ OTT string }
			_ = json.NewDecoder(r.Body).Decode(&body) // a renewal has none
			bearer = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			w.WriteHeader(status)
			quoted := body.OTT + bearer
			fmt.Fprint(w, `{"message":`+quote("bad: "+quoted+" "+quoted[strings.LastIndexByte(quoted, '.')+1:])+`}`)
		})
		_, err := c.way.Enroll(t.Context(), c.request.CSR, token+"\n")
		if err == nil || !strings.Contains(err.Error(), "bad: (secret) (secret)") || strings.Contains(err.Error()+signer.Hint(err), signature) {
			t.Errorf("%d: %v", status, err)
		}
		c.request.Old = signer.WithCertificates(c.request.Old, signer.Certificates{Chain: slices.Concat(c.lapsed(), c.ca.Chain())})
		_, err = c.way.Renew(t.Context(), c.request)
		if err == nil || bearer == "" || !strings.Contains(err.Error(), "bad: (secret) (secret)") || strings.Contains(err.Error(), bearer) {
			t.Errorf("%d: %v", status, err)
		}
	}
	for name, handler := range map[string]func(w http.ResponseWriter, token string){
		"redirect": func(w http.ResponseWriter, token string) {
			w.Header().Set("Location", "/?"+token)
			w.WriteHeader(http.StatusFound)
		},
		"no HTTP": func(w http.ResponseWriter, token string) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				fmt.Fprintf(conn, "%s.%s\r\n", token, strings.Repeat("x", 10_000))
				conn.Close()
			}
		},
		"a bad header": func(w http.ResponseWriter, token string) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				fmt.Fprintf(conn, "HTTP/1.1 201 Created\r\n%s\r\n\r\n", token)
				conn.Close()
			}
		},
	} {
		c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
			var body struct{ OTT string }
			_ = json.NewDecoder(r.Body).Decode(&body)
			handler(w, body.OTT)
		})
		_, err := c.way.Enroll(t.Context(), c.request.CSR, token)
		if !errors.Is(err, renew.ErrUnreachable) || !strings.Contains(err.Error(), "(secret)") || strings.Contains(err.Error(), signature) || len(err.Error()) > 500 {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := newClient(t, nil)
	for _, bad := range []string{"", "secret-token", "a.b", "a.b.c.d", "..", "a.b.secret token", "e30.e30.secret=", strings.Repeat("e30.", 2) + strings.Repeat("AAAA", 20_000)} {
		_, err := c.way.Enroll(t.Context(), c.request.CSR, bad)
		if err == nil || !strings.Contains(err.Error(), "JSON Web Token") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
}
