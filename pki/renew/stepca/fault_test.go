package stepca_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/stepca"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// lapsed returns a certificate of the key that has expired.
func (c client) lapsed() []*x509.Certificate {
	return []*x509.Certificate{c.ca.Issue(c, c.request.Old, func(t *x509.Certificate) {
		t.NotBefore, t.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})}
}

// renewer returns the configuration of a Renewer whose result is dropped.
func (c client) renewer() renew.Config {
	return renew.Config{Way: c.way, StateFile: filepath.Join(c.TempDir(), "state"),
		Open: func(context.Context) (signer.Signer, error) {
			return signer.WithContext(c.Context(), c.request.Old), nil
		},
		Install: func(context.Context, *x509.Certificate, string, []*x509.Certificate) error { return nil }}
}

// Whatever happens to a connection is bounded, and the next try can succeed.
func TestFaults(t *testing.T) {
	block := func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"no answer": {block, "the time limit of 200ms has passed"},
		"half an answer": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"certChain":[`)
			w.(http.Flusher).Flush()
			block(w, r)
		}, "the time limit of 200ms has passed"},
		"a wrong length": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusCreated)
		}, "unexpected EOF"},
		"hung up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"large header": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Large", strings.Repeat("x", 1<<20))
			w.WriteHeader(http.StatusCreated)
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
			roots := poolOf([]*x509.Certificate{client.server.Certificate()})
			timeout := stepca.DefaultTimeout
			if strings.Contains(c.want, "200ms") {
				timeout = 200 * time.Millisecond
			}
			way := newWay(t, stepca.Config{URL: client.server.URL, Roots: roots, Timeout: timeout})
			_, err := way.Renew(t.Context(), client.request)
			wantUnreachable(t, err, c.want, "check the network")
		})
	}
}

func wantUnreachable(t *testing.T, err error, text, hint string) {
	t.Helper()
	if !errors.Is(err, renew.ErrUnreachable) || errors.Is(err, renew.ErrRejected) || !strings.Contains(err.Error(), text) || !strings.Contains(signer.Hint(err), hint) {
		t.Errorf("%v; hint: %s", err, signer.Hint(err))
	}
}

func TestNoServer(t *testing.T) {
	c := newClient(t, nil)
	roots := poolOf([]*x509.Certificate{c.server.Certificate()})
	ask := func(config stepca.Config) error {
		_, err := newWay(t, config).Renew(t.Context(), c.request)
		return err
	}
	wantUnreachable(t, ask(stepca.Config{URL: c.server.URL, Roots: x509.NewCertPool()}), "unknown authority", "step ca root")
	_, port, _ := strings.Cut(strings.TrimPrefix(c.server.URL, "https://"), ":")
	wantUnreachable(t, ask(stepca.Config{URL: "https://localhost:" + port, Roots: roots}), "not localhost", "another host")

	silent, err := net.Listen("tcp", "127.0.0.1:0") // it accepts connections only
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	wantUnreachable(t, ask(stepca.Config{URL: "https://" + silent.Addr().String(), Roots: roots, Timeout: 200 * time.Millisecond}), "the time limit of 200ms has passed", "check the network")
	plain := httptest.NewServer(nil)
	defer plain.Close()
	wantUnreachable(t, ask(stepca.Config{URL: strings.Replace(plain.URL, "http:", "https:", 1), Roots: roots}), "does not look like a TLS handshake", "does not use TLS")
	c.server.Close()
	wantUnreachable(t, ask(stepca.Config{URL: c.server.URL, Roots: roots}), "refused", "check the network")
}

// A redirect is not followed, least of all with a token.
func TestRedirect(t *testing.T) {
	requests := 0
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		http.Redirect(w, r, "/elsewhere?\u202e", http.StatusTemporaryRedirect)
	})
	_, err := c.way.Enroll(t.Context(), c.request.CSR, "e30.e30.AAAA")
	wantUnreachable(t, err, "redirect to \"/elsewhere?", "other than step-ca")
	if requests != 1 {
		t.Errorf("%d requests", requests)
	}
}

// A device that fails is not a fault of the CA, and its error keeps its meaning.
func TestDevice(t *testing.T) {
	c := newClient(t, nil)
	pin := signer.WithHint(fmt.Errorf("%w: %w", signer.ErrTryCounted, signer.ErrPINIncorrect), "check the PIN file")
	for name, chain := range map[string][]*x509.Certificate{"TLS": c.request.Old.Chain(), "token": c.lapsed()} {
		r := c.request
		r.Old = signer.WithCertificates(failing{r.Old, pin}, signer.Certificates{Chain: chain})
		_, err := c.way.Renew(t.Context(), r)
		if !errors.Is(err, signer.ErrTryCounted) || errors.Is(err, renew.ErrUnreachable) || errors.Is(err, renew.ErrRejected) || signer.Hint(err) != "check the PIN file" {
			t.Errorf("%s: %v; hint: %s", name, err, signer.Hint(err))
		}
		wait := make(chan struct{})
		r.Old = signer.WithCertificates(stuck{r.Old, wait}, signer.Certificates{Chain: chain})
		way := newWay(t, stepca.Config{URL: c.server.URL, Roots: poolOf([]*x509.Certificate{c.server.Certificate()}), Timeout: 200 * time.Millisecond})
		if _, err := way.Renew(t.Context(), r); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, signer.ErrUnavailable) || errors.Is(err, renew.ErrUnreachable) {
			t.Errorf("%s, stuck: %v", name, err)
		}
		close(wait)
	}
}

// A key that takes only messages authenticates the client, and signs tokens.
func TestMessageKey(t *testing.T) {
	var seen []bool
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, len(r.TLS.PeerCertificates) > 0, strings.Count(r.Header.Get("Authorization"), ".") == 2)
		w.WriteHeader(http.StatusForbidden)
	})
	for _, test := range []struct {
		chain []*x509.Certificate
		seen  []bool // a certificate, a token
	}{{c.request.Old.Chain(), []bool{true, false}}, {c.lapsed(), []bool{false, true}}} {
		seen = nil
		r := c.request
		r.Old = signer.WithCertificates(&signertest.MessageFake{Fake: signertest.Fake{Key: signertest.Key(t, "p256")}}, signer.Certificates{Chain: test.chain})
		if _, err := c.way.Renew(t.Context(), r); !errors.Is(err, renew.ErrRejected) || !slices.Equal(seen, test.seen) {
			t.Errorf("a certificate, a token: %t, want %t; %v", seen, test.seen, err)
		}
	}
}

type failing struct {
	signer.Signer
	err error
}

func (f failing) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, f.err }

type stuck struct {
	signer.Signer
	until chan struct{}
}

func (s stuck) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	<-s.until
	return nil, errors.New("stuck")
}

func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newClient(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // an empty answer could still arrive
	})
	if _, err := c.way.Renew(ctx, c.request); !errors.Is(err, context.Canceled) || errors.Is(err, renew.ErrUnreachable) {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	roots := x509.NewCertPool()
	for url, want := range map[string]string{
		"": "URL", "ca.example.com": "URL", "http://ca.example.com": "URL", "https://": "URL", "https://:443": "URL", "https://a b": "URL",
		"https://ca.example.com/1.0": "URL", "https://ca.example.com?x": "URL", "https://ca.example.com#x": "URL", "https://user:secret@ca.example.com": "password",
	} {
		if _, err := stepca.New(stepca.Config{URL: url, Roots: roots}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := stepca.New(stepca.Config{URL: "https://ca.example.com"}); err == nil || !strings.Contains(err.Error(), "root") {
		t.Errorf("no roots: %v", err)
	}
	if _, err := stepca.New(stepca.Config{URL: "https://ca.example.com", Roots: roots, Timeout: -1}); err == nil {
		t.Error("a negative timeout is accepted")
	}
	c := newClient(t, nil)
	if _, err := c.way.Renew(t.Context(), renew.Request{Old: signer.FromKey(signertest.Key(t, "p256")), CSR: c.request.CSR}); !errors.Is(err, signer.ErrNoCertificate) {
		t.Error(err)
	}
	if _, err := c.way.Renew(t.Context(), renew.Request{Old: c.request.Old, CSR: []byte("x")}); err == nil {
		t.Error("a damaged request is accepted")
	}
	key := signer.FromKey(signertest.Key(t, "ed25519"))
	old := signer.WithCertificates(key, signer.Certificates{Chain: []*x509.Certificate{c.ca.Issue(t, key, func(t *x509.Certificate) { t.NotAfter = time.Now().Add(-time.Minute) })}})
	if _, err := c.way.Renew(t.Context(), renew.Request{Old: old, CSR: c.request.CSR}); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}

// The proxy of the environment is asked for a tunnel. The variables are read
// once in a process, so this runs in one of its own.
func TestProxy(t *testing.T) {
	if os.Getenv("STEPCA_TEST_PROXY") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestProxy$")
		cmd.Env = append(os.Environ(), "STEPCA_TEST_PROXY=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"message":"through the tunnel"}`)
	})
	status, asked := 0, 0
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if status != http.StatusOK {
			w.WriteHeader(status)
			return
		}
		tunnel(t, w, strings.TrimPrefix(c.server.URL, "https://"))
	}))
	defer proxy.Close()
	os.Setenv("HTTPS_PROXY", proxy.URL)
	os.Setenv("NO_PROXY", "direct.invalid")
	roots := poolOf([]*x509.Certificate{c.server.Certificate()})
	ask := func(config stepca.Config) error { // its certificate is for example.com
		config.Roots = roots
		_, err := newWay(t, config).Enroll(t.Context(), c.request.CSR, "e30.e30.AAAA")
		return err
	}
	status = http.StatusForbidden
	wantUnreachable(t, ask(stepca.Config{URL: "https://example.com"}), "the proxy "+strings.TrimPrefix(proxy.URL, "http://")+" answers with status 403", "NO_PROXY")
	status = http.StatusProxyAuthRequired
	wantUnreachable(t, ask(stepca.Config{URL: "https://example.com"}), "status 407", "user name and password")
	status = http.StatusOK
	if err := ask(stepca.Config{URL: "https://example.com"}); !errors.Is(err, renew.ErrRejected) || !strings.Contains(err.Error(), "through the tunnel") {
		t.Error(err)
	}
	before := asked
	wantUnreachable(t, ask(stepca.Config{URL: "https://direct.invalid"}), "direct.invalid", "check the network")
	wantUnreachable(t, ask(stepca.Config{URL: "https://other.invalid", NoProxy: true}), "other.invalid", "check the network")
	if asked != before {
		t.Error("the proxy was asked")
	}
	proxy.Close()
	wantUnreachable(t, ask(stepca.Config{URL: "https://example.com"}), "refused", "HTTPS_PROXY")
}

// tunnel joins a connection to the proxy with one to the address.
func tunnel(t *testing.T, w http.ResponseWriter, address string) {
	server, err := (&net.Dialer{}).Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	defer server.Close()
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(server, conn) }()
	_, _ = io.Copy(conn, server)
}
