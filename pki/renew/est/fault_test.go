package est_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/est"
	"github.com/holdfast-dev/holdfast/pki/renew/est/esttest"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// wait waits until the client hangs up, which a server notices only after it has
// read the request.
func wait(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
	panic(http.ErrAbortHandler) // an empty answer could still arrive
}

// Whatever happens to a connection is bounded.
func TestFaults(t *testing.T) {
	block := func(_ http.ResponseWriter, r *http.Request) {
		wait(r)
		panic(http.ErrAbortHandler)
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"no answer": {block, "the time limit of 200ms has passed"},
		"half an answer": {func(w http.ResponseWriter, r *http.Request) {
			send(w, 200, media, "MIIB")
			w.(http.Flusher).Flush()
			block(w, r)
		}, "the time limit of 200ms has passed"},
		"a wrong length": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			send(w, 200, media, "MIIB")
		}, "unexpected EOF"},
		"hung up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"large header": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Large", strings.Repeat("x", 1<<20))
		}, "headers exceeded"},
		"no HTTP": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				fmt.Fprint(conn, "220 smtp ready\r\n")
				conn.Close()
			}
		}, "malformed HTTP"},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, c.handler)
			timeout := est.DefaultTimeout
			if strings.Contains(c.want, "200ms") {
				timeout = 200 * time.Millisecond
			}
			way := newWay(t, est.Config{URL: client.server.URL, Roots: rootsOf(client.server), Timeout: timeout})
			_, err := way.Renew(t.Context(), client.request)
			wantUnreachable(t, err, c.want, "check the network")
		})
	}
}

// If nobody can tell who issues certificates, none is asked for. The two requests
// have one connection, for which the key signs once.
func TestOrder(t *testing.T) {
	var asked []string
	status := http.StatusOK
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.RemoteAddr)
		send(w, status, media, encoded(signertest.NewCA(t, "CA").Cert))
	}))
	defer server.Close()
	way := newWay(t, est.Config{URL: server.URL, Roots: rootsOf(server)})
	c := newClient(t, nil)
	if _, err := way.Renew(t.Context(), c.request); err != nil || len(asked) != 2 || strings.TrimPrefix(asked[0], "GET ") != strings.TrimPrefix(asked[1], "POST ") {
		t.Errorf("%q, %v", asked, err)
	}
	status, asked = http.StatusServiceUnavailable, nil
	if _, err := way.Renew(t.Context(), c.request); !errors.Is(err, renew.ErrUnreachable) || len(asked) != 1 {
		t.Errorf("%q, %v", asked, err)
	}
	status, asked = http.StatusAccepted, nil // means nothing for cacerts
	_, err := way.Renew(t.Context(), c.request)
	wantUnreachable(t, err, "status 202", "other than an EST server")
}

// A redirect is not followed, least of all with a password.
func TestRedirect(t *testing.T) {
	requests := 0
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		http.Redirect(w, r, "/elsewhere?\u202e", http.StatusTemporaryRedirect)
	})
	_, err := c.way.Enroll(t.Context(), c.request.CSR, password)
	wantUnreachable(t, err, "redirect to \"/elsewhere?", "other than an EST server")
	if requests != 1 {
		t.Errorf("%d requests", requests)
	}
}

// A server that quotes what it got does not bring a secret into an error.
func TestSecrets(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 429, 500} {
		c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
			_, secret, _ := r.BasicAuth()
			send(w, status, "text/plain", "bad: "+r.Header.Get("Authorization")+" "+secret)
		})
		_, err := c.way.Enroll(t.Context(), c.request.CSR, password)
		if err == nil || !strings.Contains(err.Error(), "bad: Basic (secret) (secret)") || strings.Contains(signer.Hint(err), esttest.Password) {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestDigest(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Digest realm="EST", nonce="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	_, err := c.way.Enroll(t.Context(), c.request.CSR, password)
	if !errors.Is(err, renew.ErrRejected) || !strings.Contains(signer.Hint(err), "HTTP Digest authentication") {
		t.Errorf("%v; hint: %s", err, signer.Hint(err))
	}
}

// A device that fails is not a fault of the CA, and its error keeps its meaning.
func TestDevice(t *testing.T) {
	c := newClient(t, nil)
	r := c.request
	pin := signer.WithHint(fmt.Errorf("%w: %w", signer.ErrTryCounted, signer.ErrPINIncorrect), "check the PIN file")
	r.Old = signer.WithCertificates(failing{r.Old, pin}, signer.Certificates{Chain: r.Old.Chain()})
	_, err := c.way.Renew(t.Context(), r)
	if !errors.Is(err, signer.ErrTryCounted) || errors.Is(err, renew.ErrUnreachable) || errors.Is(err, renew.ErrRejected) || signer.Hint(err) != "check the PIN file" {
		t.Errorf("%v; hint: %s", err, signer.Hint(err))
	}
}

// A key that takes only messages authenticates the client.
func TestMessageKey(t *testing.T) {
	authenticated := false
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		authenticated = len(r.TLS.PeerCertificates) > 0
		w.WriteHeader(http.StatusForbidden)
	})
	r := c.request
	r.Old = signer.WithCertificates(&signertest.MessageFake{Fake: signertest.Fake{Key: signertest.Key(t, "p256")}}, signer.Certificates{Chain: r.Old.Chain()})
	if _, err := c.way.Renew(t.Context(), r); !errors.Is(err, renew.ErrRejected) || !authenticated {
		t.Errorf("authenticated: %t; %v", authenticated, err)
	}
}

type failing struct {
	signer.Signer
	err error
}

func (f failing) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, f.err }

func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newClient(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		wait(r)
	})
	if _, err := c.way.Renew(ctx, c.request); !errors.Is(err, context.Canceled) || errors.Is(err, renew.ErrUnreachable) {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	roots := x509.NewCertPool()
	for _, c := range []struct {
		config est.Config
		want   string
	}{
		{est.Config{Roots: roots}, "URL"},
		{est.Config{URL: "http://ca.example.com", Roots: roots}, "URL"},
		{est.Config{URL: "https://ca.example.com/.well-known/est", Roots: roots}, "URL"},
		{est.Config{URL: "https://user:secret@ca.example.com", Roots: roots}, "password"},
		{est.Config{URL: "https://ca.example.com"}, "root"},
		{est.Config{URL: "https://ca.example.com", Roots: roots, Timeout: -1}, "negative"},
		{est.Config{URL: "https://ca.example.com", Roots: roots, Label: "a/b"}, "label"},
		{est.Config{URL: "https://ca.example.com", Roots: roots, Label: ".."}, "label"},
		{est.Config{URL: "https://ca.example.com", Roots: roots, Label: "cacerts"}, "label"},
		{est.Config{URL: "https://ca.example.com", Roots: roots, Label: "%2e"}, "label"},
		{est.Config{URL: "https://ca.example.com", Roots: roots, Label: strings.Repeat("x", 200)}, "label"},
	} {
		if _, err := est.New(c.config); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", c.config, err)
		}
	}
	c := newClient(t, nil)
	if _, err := c.way.Renew(t.Context(), renew.Request{Old: signer.FromKey(signertest.Key(t, "p256")), CSR: c.request.CSR}); !errors.Is(err, signer.ErrNoCertificate) {
		t.Error(err)
	}
	if _, err := c.way.Enroll(t.Context(), []byte("x"), password); err == nil {
		t.Error("a damaged request is accepted")
	}
}
