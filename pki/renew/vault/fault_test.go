package vault_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/vault"
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

// Whatever happens to a connection is bounded, at each of the requests.
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
			send(w, 200, `{"auth":`)
			w.(http.Flusher).Flush()
			block(w, r)
		}, "the time limit of 200ms has passed"},
		"a wrong length": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			send(w, 200, `{"auth":`)
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
		for _, atLogin := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/%v", name, atLogin), func(t *testing.T) {
				client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
					switch {
					case isLogin(r) == atLogin:
						c.handler(w, r)
					case isLogin(r):
						send(w, 200, loggedIn)
					}
				})
				timeout := vault.DefaultTimeout
				if strings.Contains(c.want, "200ms") {
					timeout = 200 * time.Millisecond
				}
				way := newWay(t, vault.Config{URL: client.server.URL, Roots: rootsOf(client.server), Role: "app", Timeout: timeout})
				_, err := way.Renew(t.Context(), client.request)
				wantUnreachable(t, err, c.want, "check the network")
			})
		}
	}
}

// One connection, for which the key signs once, has all requests. That the token
// cannot be revoked does not matter.
func TestRequests(t *testing.T) {
	var asked, addresses []string
	var sent struct {
		Name                           string
		CSR                            string
		CommonName                     string `json:"common_name"`
		AltNames, URISANs, IPSANs, TTL string
	}
	var c client
	c = newClient(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("X-Vault-Token")+" "+r.Header.Get("X-Vault-Namespace"))
		if addresses = append(addresses, r.RemoteAddr); addresses[0] != r.RemoteAddr {
			t.Error("another connection")
		}
		_ = json.NewDecoder(r.Body).Decode(&sent) // the last request has no body
		switch len(asked) {
		case 1:
			send(w, 200, loggedIn)
		case 2:
			text, err := json.Marshal(string(signertest.CertPEM(c.request.Old.Chain()[0])))
			if err != nil {
				t.Error(err)
			}
			send(w, 200, `{"data":{"certificate":`+string(text)+`,"issuing_ca":"","ca_chain":null}}`)
		default:
			send(w, 403, `{"errors":["permission denied"]}`)
		}
	})
	way := newWay(t, vault.Config{URL: c.server.URL, Roots: rootsOf(c.server), Role: "app", LoginRole: "machine", Namespace: "/team", TTL: 90 * time.Minute})
	certs, err := way.Renew(t.Context(), c.request)
	if err != nil || len(certs) != 1 {
		t.Errorf("%d certificates, %v", len(certs), err)
	}
	want := []string{"POST /v1/auth/cert/login  team/", "POST /v1/pki/sign/app " + secret + " team/", "POST /v1/auth/token/revoke-self " + secret + " team/"}
	if !slices.Equal(asked, want) {
		t.Errorf("%q", asked)
	}
	if sent.Name != "machine" || sent.CommonName != "client" || sent.TTL != "5400s" || !strings.HasPrefix(sent.CSR, "-----BEGIN CERTIFICATE REQUEST-----") {
		t.Errorf("%+v", sent)
	}
}

// A certificate is not lost because the server does not revoke the token.
func TestRevocationFails(t *testing.T) {
	var c client
	c = newClient(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case isLogin(r):
			send(w, 200, loggedIn)
		case strings.HasSuffix(r.URL.Path, "/revoke-self"):
			panic(http.ErrAbortHandler)
		default:
			text, err := json.Marshal(string(signertest.CertPEM(c.request.Old.Chain()[0])))
			if err != nil {
				t.Error(err)
			}
			send(w, 200, `{"data":{"certificate":`+string(text)+`}}`)
		}
	})
	way := newWay(t, vault.Config{URL: c.server.URL, Roots: rootsOf(c.server), Role: "app"})
	if certs, err := way.Renew(t.Context(), c.request); err != nil || len(certs) != 1 {
		t.Errorf("%d certificates, %v", len(certs), err)
	}
}

// A redirect is not followed, least of all with a token.
func TestRedirect(t *testing.T) {
	requests := 0
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		http.Redirect(w, r, "/elsewhere?\u202e"+r.Header.Get("X-Vault-Token"), http.StatusTemporaryRedirect)
	})
	_, err := c.way.Enroll(t.Context(), c.request.CSR, secret)
	wantUnreachable(t, err, "(secret)", "other than Vault")
	if requests != 1 || strings.Contains(err.Error(), secret) {
		t.Errorf("%d requests, %v", requests, err)
	}
}

// A server that quotes what it got does not bring a token into an error.
func TestSecrets(t *testing.T) {
	for _, status := range []int{400, 403, 404, 429, 500} {
		c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
			if isLogin(r) {
				send(w, 200, loggedIn)
				return
			}
			send(w, status, `{"errors":["bad: `+r.Header.Get("X-Vault-Token")+`"]}`)
		})
		_, renewal := c.way.Renew(t.Context(), c.request)
		_, enrolment := c.way.Enroll(t.Context(), c.request.CSR, secret+"\n")
		for _, err := range []error{renewal, enrolment} {
			if err == nil || !strings.Contains(err.Error(), "bad: (secret)") || strings.Contains(err.Error()+signer.Hint(err), secret) {
				t.Errorf("%d: %v", status, err)
			}
		}
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
	good := vault.Config{URL: "https://vault.example.com", Roots: x509.NewCertPool(), Role: "app"}
	for want, change := range map[string]func(*vault.Config){
		"URL of the CA is":       func(c *vault.Config) { c.URL = "http://vault.example.com" },
		"/v1":                    func(c *vault.Config) { c.URL += "/v1" },
		"user name":              func(c *vault.Config) { c.URL = "https://user:secret@vault.example.com" },
		"root":                   func(c *vault.Config) { c.Roots = nil },
		"timeout":                func(c *vault.Config) { c.Timeout = -1 },
		"lifetime -1h0m0s":       func(c *vault.Config) { c.TTL = -time.Hour },
		"lifetime 1.5s":          func(c *vault.Config) { c.TTL = 1500 * time.Millisecond },
		`role of the CA is ""`:   func(c *vault.Config) { c.Role = "" },
		`the CA is "../a"`:       func(c *vault.Config) { c.Role = "../a" },
		`mount of the CA is "/`:  func(c *vault.Config) { c.Mount = "/pki" },
		`the CA is "pki/"`:       func(c *vault.Config) { c.Mount = "pki/" },
		`the CA is "a?b"`:        func(c *vault.Config) { c.Mount = "a?b" },
		`login of the CA is "%2`: func(c *vault.Config) { c.LoginMount = "%2e" },
		`login of the CA is "é"`: func(c *vault.Config) { c.LoginRole = "é" },
		`namespace of the CA is`: func(c *vault.Config) { c.Namespace = "a\r\nb" },
	} {
		config := good
		change(&config)
		if _, err := vault.New(config); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := vault.New(good); err != nil {
		t.Error(err)
	}
	c := newClient(t, nil)
	if _, err := c.way.Renew(t.Context(), renew.Request{Old: signer.FromKey(signertest.Key(t, "p256")), CSR: c.request.CSR}); !errors.Is(err, signer.ErrNoCertificate) {
		t.Error(err)
	}
	if _, err := c.way.Renew(t.Context(), renew.Request{Old: c.request.Old, CSR: []byte("x")}); err == nil {
		t.Error("a damaged request is accepted")
	}
}
