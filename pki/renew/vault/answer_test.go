package vault_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/vault"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A client is a key with a certificate and a server that is not Vault.
type client struct {
	*testing.T
	server  *httptest.Server
	way     *vault.CA
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
	way := newWay(t, vault.Config{URL: server.URL, Roots: rootsOf(server), Role: "app"})
	return client{t, server, way, ca, renew.Request{Old: old, CSR: newCSR(t, key, pki.CommonName("client"))}}
}

func rootsOf(server *httptest.Server) *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return roots
}

const (
	loggedIn = `{"auth":{"client_token":"hvs.secret-secret"}}`
	secret   = "hvs.secret-secret"
)

// isLogin reports whether a request is for the path of the login.
func isLogin(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/login") }

func send(w http.ResponseWriter, status int, body string) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// An answer is what no Vault should answer, or what it answers when it refuses.
type answer struct {
	status int
	body   string
	class  error
	want   string // in the error
}

// failures are answers to any request.
func failures() map[string]answer {
	rejected, unreachable := renew.ErrRejected, renew.ErrUnreachable
	const notJSON = "not the JSON of Vault"
	return map[string]answer{
		"400 with a reason":           {400, `{"errors":["no such name"]}`, rejected, "refuses the request: no such name"},
		"400 with two":                {400, `{"errors":["one","two"]}`, rejected, "one; two"},
		"400 without":                 {400, `{"errors":[]}`, rejected, "status 400"},
		"400 in HTML":                 {400, `<html>`, unreachable, "status 400"},
		"401":                         {401, ``, unreachable, "status 401"},
		"403":                         {403, `{"errors":["permission denied"]}`, rejected, "permission denied"},
		"403 of a proxy":              {403, `<html>Forbidden</html>`, unreachable, "status 403"},
		"403, a reason of many lines": {403, `{"errors":["no\n\u001b[31mnever\u0000\u202e"]}`, rejected, "no  [31mnever"},
		"403, a long reason":          {403, `{"errors":["` + strings.Repeat("no ", 50_000) + `"]}`, rejected, "no no no"},
		"403, a reason that is none":  {403, `{"errors":7}`, unreachable, "status 403"},
		"404 of Vault":                {404, `{"errors":["no handler for route"]}`, unreachable, "no handler for route"},
		"404":                         {404, `404 page not found`, unreachable, "status 404"},
		"405":                         {405, `{"errors":["unsupported operation"]}`, unreachable, "unsupported operation"},
		"412":                         {412, `{"errors":["required index state not present"]}`, unreachable, "status 412: required index"},
		"429":                         {429, `{"errors":["request path: rate limit quota exceeded"]}`, unreachable, "status 429: request path"},
		"472":                         {472, ``, unreachable, "status 472"},
		"500":                         {500, ``, unreachable, "status 500"},
		"500 with a reason":           {500, `{"errors":["internal error"]}`, unreachable, "status 500: internal error"},
		"502 of a proxy":              {502, `<html>Bad Gateway</html>`, unreachable, "status 502"},
		"503, sealed":                 {503, `{"errors":["Vault is sealed"]}`, unreachable, "status 503: Vault is sealed"},
		"503, endless":                {503, strings.Repeat("x", 2<<20), unreachable, "more than 1024 KiB"},
		"201":                         {201, `{}`, unreachable, "status 201"},
		"202":                         {202, ``, unreachable, "status 202"},
		"204":                         {204, ``, unreachable, "status 204"},
		"307 of a standby":            {307, ``, unreachable, "redirect"},
		"200, empty":                  {200, ``, unreachable, notJSON},
		"200, HTML":                   {200, `<html>hello</html>`, unreachable, notJSON},
		"200, an array":               {200, `[]`, unreachable, notJSON},
		"200, other types":            {200, `{"auth":7,"data":7}`, unreachable, notJSON},
		"200, null":                   {200, `null`, unreachable, "contains no"},
		"200, an empty object":        {200, `{}`, unreachable, "contains no"},
		"200, nulls":                  {200, `{"auth":null,"data":null}`, unreachable, "contains no"},
		"200, more after it":          {200, `{}{}`, unreachable, notJSON},
		"200, huge":                   {200, `{"x":"` + strings.Repeat("x", 2<<20) + `"}`, unreachable, "more than 1024 KiB"},
		"200, deep":                   {200, strings.Repeat(`[`, 100_000), unreachable, notJSON},
	}
}

// signatures are answers to the request for a certificate.
func signatures(good string) map[string]answer {
	const notPEM = "not one certificate in PEM"
	data := func(values map[string]any) string {
		text, err := json.Marshal(map[string]any{"data": values})
		if err != nil {
			panic(err)
		}
		return string(text)
	}
	leaf := func(text string) string { return data(map[string]any{"certificate": text}) }
	all := failures()
	for name, a := range map[string]answer{
		"number":              {body: data(map[string]any{"certificate": 1}), want: "not the JSON of Vault"},
		"empty text":          {body: leaf(""), want: "no certificate"},
		"text for PEM":        {body: leaf("certificate"), want: notPEM},
		"text before PEM":     {body: leaf("x\n" + good), want: notPEM},
		"text after PEM":      {body: leaf(good + "x"), want: notPEM},
		"two in one":          {body: leaf(good + good), want: notPEM},
		"a private key":       {body: leaf("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"), want: notPEM},
		"damaged":             {body: leaf(strings.Replace(good, "\nMII", "\nMIJ", 1)), want: "damaged"},
		"DER":                 {body: leaf("MIIBszCCAVmg"), want: notPEM},
		"a bad issuer":        {body: data(map[string]any{"certificate": good, "issuing_ca": "x"}), want: notPEM},
		"a bad chain":         {body: data(map[string]any{"certificate": good, "ca_chain": []string{""}}), want: notPEM},
		"a chain as one text": {body: data(map[string]any{"certificate": good, "ca_chain": good}), want: "not the JSON of Vault"},
		"many":                {body: data(map[string]any{"certificate": good, "ca_chain": slices.Repeat([]string{good}, 17)}), want: "more than 16 certificates"},
	} {
		all["200, signed: "+name] = answer{200, a.body, renew.ErrUnreachable, a.want}
	}
	return all
}

func TestBadAnswers(t *testing.T) {
	var a answer
	var toLogin bool
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case isLogin(r) == toLogin:
			send(w, a.status, a.body)
		case isLogin(r):
			send(w, 200, loggedIn)
		}
	})
	good := string(signertest.CertPEM(c.request.Old.Chain()[0]))
	check := func(t *testing.T, err error) {
		t.Helper()
		if !errors.Is(err, a.class) || errors.Is(err, renew.ErrRejected) && errors.Is(err, renew.ErrUnreachable) {
			t.Fatal(err)
		}
		if !strings.Contains(err.Error(), a.want) || !strings.HasPrefix(err.Error(), strings.TrimPrefix(c.server.URL, "https://")) || signer.Hint(err) == "" {
			t.Errorf("%v, want %q; hint: %s", err, a.want, signer.Hint(err))
		}
		if len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\n\x1b\x00\u202e") {
			t.Errorf("%q", err)
		}
	}
	for name, bad := range failures() {
		t.Run("login/"+name, func(t *testing.T) {
			a, toLogin = bad, true
			_, err := c.way.Renew(t.Context(), c.request)
			check(t, err)
		})
	}
	for name, bad := range signatures(good) {
		t.Run("sign/"+name, func(t *testing.T) {
			a, toLogin = bad, false
			_, err := c.way.Renew(t.Context(), c.request)
			check(t, err)
			_, err = c.way.Enroll(t.Context(), c.request.CSR, secret)
			check(t, err)
		})
	}
	if len(failures()) < 25 {
		t.Error("too few answers")
	}
}

// A token that is none is not sent.
func TestBadTokens(t *testing.T) {
	var token string
	requests := 0
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		requests++
		text, err := json.Marshal(token)
		if err != nil {
			t.Error(err)
		}
		send(w, 200, `{"auth":{"client_token":`+string(text)+`}}`)
	})
	for _, token = range []string{"", " ", "a b", "a\r\nX-Vault-Token: b", "\x00", "é", strings.Repeat("x", 5000)} {
		requests = 0
		_, err := c.way.Renew(t.Context(), c.request)
		wantUnreachable(t, err, "contains no token", "second factor")
		if requests != 1 {
			t.Errorf("%.20q: %d requests", token, requests)
		}
	}
}

// A certificate for another key does not enrol.
func TestAnotherKey(t *testing.T) {
	var c client
	c = newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		text, err := json.Marshal(string(signertest.CertPEM(c.ca.Issue(c, signertest.Key(c, "p384"), nil))))
		if err != nil {
			t.Error(err)
		}
		send(w, 200, `{"data":{"certificate":`+string(text)+`}}`)
	})
	_, err := c.way.Enroll(t.Context(), c.request.CSR, secret)
	wantUnreachable(t, err, "another key", "other than Vault")
}
