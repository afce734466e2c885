//go:build unix

package spiffe_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/spiffe"
	"github.com/holdfast-dev/holdfast/keystore/spiffe/spiffetest"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const app = "spiffe://example.org/app"

func newCA(t *testing.T) *signertest.CA { return signertest.NewCA(t, "root").Intermediate(t, "SPIRE") }

// refOf returns a reference to an SVID of s.
func refOf(t *testing.T, s *spiffetest.Server, attributes ...string) keystore.Ref {
	t.Helper()
	ref, err := keystore.ParseRef("spiffe:" + strings.Join(append(attributes, "socket="+s.Path), ";"))
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func store() *keystore.Store { return keystore.New(spiffe.Backend{}) }

// environment has a single variable.
func environment(value string) keystore.Options {
	return keystore.Options{LookupEnv: func(name string) (string, bool) { return value, name == "SPIFFE_ENDPOINT_SOCKET" }}
}

func TestContract(t *testing.T) {
	for _, kind := range []string{"p256", "p384", "rsa2048", "ed25519"} {
		t.Run(kind, func(t *testing.T) {
			s := spiffetest.Start(t, spiffetest.Issue(t, newCA(t), kind, app, nil))
			signertest.Run(t, func(t *testing.T) signer.Signer {
				key, err := store().OpenIdentity(t.Context(), keystore.Identity{Key: refOf(t, s)}, keystore.Options{})
				if err != nil {
					t.Fatal(err)
				}
				return key
			})
		})
	}
}

// One of several SVIDs is selected by its ID and its hint; the first one is the default.
func TestSelection(t *testing.T) {
	ca := newCA(t)
	issue := func(id, hint string) spiffetest.SVID {
		s := spiffetest.Issue(t, ca, "p256", id, nil)
		s.Hint = hint
		return s
	}
	const other = "spiffe://example.org/ns/prod/sa/web"
	svids := []spiffetest.SVID{issue(app, "internal"), issue(other, "external"), issue(app, "old;%"), issue("spiffe://example.org/last", "external")}
	s := spiffetest.Start(t, svids...)
	for _, test := range []struct {
		ref  string
		want int // -1: none
		name string
	}{
		{"spiffe:", 0, app},
		{app, 0, app},
		{"SPIFFE://example.org/app", 0, app},
		{"spiffe:id=" + other, 1, other},
		{other, 1, other},
		{"spiffe:hint=external", 1, other},
		{"spiffe:hint=old%3B%25", 2, app + ";hint=old%3B%25"},
		{app + ";hint=old%3B%25", 2, app + ";hint=old%3B%25"},
		{"spiffe:id=spiffe://example.org/last;hint=external", 3, "spiffe://example.org/last"},
		{"spiffe:hint=none", -1, ""},
		{"spiffe://example.org/none", -1, ""},
		{app + ";hint=external", -1, ""},
	} {
		ref, err := keystore.ParseRef(test.ref)
		if err != nil {
			t.Fatal(err)
		}
		key, err := store().Open(t.Context(), ref, environment("unix://"+s.Path))
		if test.want < 0 {
			if !errors.Is(err, signer.ErrNotFound) || !strings.Contains(signer.Hint(err), app+", "+other+", ") {
				t.Errorf("%s: %v, hint %s", ref, err, signer.Hint(err))
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if !key.Chain()[0].Equal(svids[test.want].Chain[0]) || key.(keystore.Key).Ref().String() != test.name {
			t.Errorf("%s: got %s, %s", ref, key.Chain()[0].URIs, key.(keystore.Key).Ref())
		}
		certs, err := store().Certificates(t.Context(), ref, environment("unix://"+s.Path))
		if err != nil || len(certs) != 2 || !certs[0].Equal(svids[test.want].Chain[0]) {
			t.Errorf("%s: certificates %v, %v", ref, certs, err)
		}
	}
	entries, err := store().List(t.Context(), refOf(t, s, "hint=external"), keystore.Options{})
	if err != nil || len(entries) != 4 || entries[0].Kind != keystore.KeyEntry || !entries[0].Plaintext || !entries[3].Certificate.Equal(svids[3].Chain[0]) {
		t.Errorf("%v, %v", entries, err)
	}
	svids[0].ID = other
	s.Send(svids...)
	entries, err = store().List(t.Context(), refOf(t, s), keystore.Options{})
	if err == nil || len(entries) != 6 || !strings.Contains(err.Error(), other) {
		t.Errorf("with a broken one: %v, %v", entries, err)
	}
}

func TestKeyPrintsNothing(t *testing.T) {
	svid := spiffetest.Issue(t, newCA(t), "p256", app, nil)
	s := spiffetest.Start(t, svid)
	key, err := store().Open(t.Context(), refOf(t, s), keystore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(svid.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		text := fmt.Sprintf(verb, key)
		for _, secret := range []string{string(der[40:60]), fmt.Sprintf("%x", der[40:60]), "ecdsa.PrivateKey", "D:"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s prints %q", verb, secret)
			}
		}
	}
}

func TestInvalidSVIDs(t *testing.T) {
	ca := newCA(t)
	uris := func(texts ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.URIs = nil
			for _, text := range texts {
				u, err := url.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				c.URIs = append(c.URIs, u)
			}
		}
	}
	issue := func(mutate func(*x509.Certificate)) spiffetest.SVID {
		return spiffetest.Issue(t, ca, "p256", app, mutate)
	}
	good, foreign := issue(nil), signertest.NewCA(t, "root").Intermediate(t, "SPIRE")
	with := func(change func(*spiffetest.SVID)) spiffetest.SVID {
		s := good
		change(&s)
		return s
	}
	for name, test := range map[string]struct {
		svid spiffetest.SVID
		want string
		is   error
	}{
		"another key":             {with(func(s *spiffetest.SVID) { s.Key = signertest.NewKey(t, "p256") }), "its private key is not that of its certificate", signer.ErrMismatch},
		"another ID":              {with(func(s *spiffetest.SVID) { s.ID = "spiffe://example.org/other" }), "its certificate is for", nil},
		"no ID":                   {with(func(s *spiffetest.SVID) { s.ID = "" }), "does not begin with spiffe://", nil},
		"ID of a trust domain":    {with(func(s *spiffetest.SVID) { s.ID = "spiffe://example.org" }), "has no path", nil},
		"no URI":                  {issue(uris()), "has 0 URIs", nil},
		"two URIs":                {issue(uris(app, "spiffe://example.org/b")), "has 2 URIs", nil},
		"ID that is not the URI":  {issue(uris("https://example.org/app")), "its certificate is for", nil},
		"CA":                      {issue(func(c *x509.Certificate) { c.IsCA = true }), "that of a CA", nil},
		"signs certificates":      {issue(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }), "that of a CA", nil},
		"issuer of the same name": {with(func(s *spiffetest.SVID) { s.Chain = []*x509.Certificate{s.Chain[0], foreign.Cert} }), "did not sign", nil},
		"issuers in no order":     {with(func(s *spiffetest.SVID) { s.Chain = []*x509.Certificate{s.Chain[0], ca.Root(), s.Chain[1]} }), "did not sign", nil},
		"17 certificates": {with(func(s *spiffetest.SVID) {
			s.Chain = []*x509.Certificate{s.Chain[0]}
			for range 16 {
				s.Chain = append(s.Chain, ca.Root())
			}
		}), "17 certificates", nil},
	} {
		s := spiffetest.Start(t, test.svid)
		_, err := store().Open(t.Context(), refOf(t, s), keystore.Options{})
		if err == nil || !strings.Contains(err.Error(), test.want) || signer.Hint(err) == "" || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := spiffetest.Start(t, with(func(s *spiffetest.SVID) { s.Chain = append(s.Chain[:2:2], ca.Root()) }))
	key, err := store().Open(t.Context(), refOf(t, s), keystore.Options{})
	if err != nil || len(key.Chain()) != 2 {
		t.Errorf("with the root: %v", err)
	}
}

func TestEndpoints(t *testing.T) {
	svid := spiffetest.Issue(t, newCA(t), "p256", app, nil)
	s := spiffetest.Start(t, svid)
	ref := keystore.Ref{Scheme: "spiffe"}
	for _, value := range []string{"unix://" + s.Path, "unix:" + s.Path} {
		if _, err := store().Open(t.Context(), ref, environment(value)); err != nil {
			t.Errorf("%s: %v", value, err)
		}
	}
	for value, want := range map[string]string{
		"":                           "SPIFFE_ENDPOINT_SOCKET is not set",
		s.Path:                       "neither a unix: nor a tcp: URI",
		"unix:relative":              "has a part other than",
		"unix://relative/path":       "has no absolute path",
		"unix://":                    "has no absolute path",
		"unix:///a?b":                "has a part other than",
		"unix:///a#b":                "has a part other than",
		"unix:///%00":                "has no absolute path",
		"unix:///%zz":                "is not a URI",
		"https://127.0.0.1:1":        "neither a unix: nor a tcp: URI",
		"npipe:spire-agent":          "named pipe",
		"tcp://localhost:1":          "is not of the form tcp://IP:PORT",
		"tcp://127.0.0.1":            "is not of the form tcp://IP:PORT",
		"tcp://127.0.0.1:0":          "is not of the form tcp://IP:PORT",
		"tcp://127.0.0.1:1/a":        "has a path",
		"tcp://u@127.0.0.1:1":        "has a part other than",
		"tcp://10.0.0.1:8081":        "would cross the network in clear text",
		"tcp://[fe80::1]:8081":       "would cross the network in clear text",
		"tcp://0.0.0.0:8081":         "would cross the network in clear text",
		"unix:///" + longText:        "at most 107",
		"tcp://127.0.0.1:1":          "device is not available",
		"tcp://[::1]:1":              "device is not available",
		"tcp://[::ffff:127.0.0.1]:1": "device is not available",
		"unix:///nonexistent":        "device is not available",
	} {
		_, err := store().Open(t.Context(), ref, environment(value))
		if err == nil || !strings.Contains(err.Error(), want) || signer.Hint(err) == "" {
			t.Errorf("%s: %v, hint %q", value, err, signer.Hint(err))
		}
	}
	if _, err := store().Open(t.Context(), ref, keystore.Options{}); !errors.Is(err, signer.ErrUnavailable) {
		t.Error(err)
	}
}

var longText = strings.Repeat("x", 110)

func TestReferences(t *testing.T) {
	for text, want := range map[string]string{
		"spiffe:id=example.org/app":                         "does not begin with spiffe://",
		"spiffe:id=spiffe://example.org":                    "has no path",
		"spiffe://":                                         "trust domain of 0 characters",
		"spiffe:///app":                                     "trust domain of 0 characters",
		"spiffe://example.org/":                             "has an empty part",
		"spiffe://example.org/a//b":                         "has an empty part",
		"spiffe://example.org/a/../b":                       "has . or ..",
		"spiffe://example.org/a%20b":                        "has a path with a character",
		"spiffe://example.org/a b":                          "has a path with a character",
		"spiffe://Example.org/a":                            "has a trust domain with a character",
		"spiffe://example.org:8080/a":                       "has a trust domain with a character",
		"spiffe://u@example.org/a":                          "has a trust domain with a character",
		"spiffe://" + longText + longText + longText + "/a": "trust domain of 330 characters",
		"spiffe://a/" + strings.Repeat("x", 2048):           "is longer than 2048 bytes",
		"spiffe:path=/run/api.sock":                         `"path" is not one of`,
		"spiffe:/run/api.sock":                              "is not NAME=VALUE",
		"spiffe:socket=tcp://10.0.0.1:1":                    "would cross the network",
		"spiffe:socket=" + longText:                         "at most 107",
		"spiffe:socket=":                                    "is empty",
		"spiffe:id=" + app + ";id=" + app:                   "given twice",
	} {
		ref, err := keystore.ParseRef(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		_, err = store().Open(t.Context(), ref, environment("unix:///nonexistent"))
		var refErr *keystore.RefError
		if !errors.As(err, &refErr) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"spiffe:":                         "spiffe:",
		app:                               app,
		"spiffe:socket=api.sock":          "spiffe:socket=/etc/api.sock",
		app + ";socket=run/api.sock":      app + ";socket=/etc/run/api.sock",
		"spiffe:socket=/run/api.sock":     "spiffe:socket=/run/api.sock",
		"spiffe:socket=unix:///run/a":     "spiffe:socket=unix:///run/a",
		"spiffe:socket=tcp://127.0.0.1:1": "spiffe:socket=tcp://127.0.0.1:1",
	} {
		ref, err := keystore.ParseRef(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := store().Rebase(ref, "/etc"); got.String() != want {
			t.Errorf("%s: rebased to %s", text, got)
		}
	}
}

// The status of a call decides the error.
func TestStatus(t *testing.T) {
	s := spiffetest.Start(t)
	for code, want := range map[int]struct {
		is   error
		hint string
	}{
		spiffetest.PermissionDenied: {signer.ErrNotFound, "spire-agent api fetch x509 -socketPath " + s.Path},
		spiffetest.Unavailable:      {signer.ErrUnavailable, "try again"},
		3:                           {nil, "log"},
		12:                          {nil, "spire-agent healthcheck -socketPath " + s.Path},
		99:                          {signer.ErrUnavailable, "spire-agent healthcheck"},
	} {
		s.Refuse(code)
		_, err := store().Open(t.Context(), refOf(t, s), keystore.Options{})
		if err == nil || want.is != nil && !errors.Is(err, want.is) || !strings.Contains(signer.Hint(err), want.hint) {
			t.Errorf("%d: %v, hint %s", code, err, signer.Hint(err))
		}
	}
	s.Answer(func(w http.ResponseWriter, _ *http.Request) { // without a message, the status is in the header
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "7")
		w.Header().Set("Grpc-Message", "no%20identity \x1b[2J"+longText+longText+longText)
	})
	_, err := store().Open(t.Context(), refOf(t, s), keystore.Options{})
	if !errors.Is(err, signer.ErrNotFound) || !strings.Contains(err.Error(), "no identity") || strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 600 {
		t.Error(err)
	}
	s.Answer(nil)
	s.Send()
	if _, err := store().Open(t.Context(), refOf(t, s), keystore.Options{}); !errors.Is(err, signer.ErrNotFound) {
		t.Errorf("without an SVID: %v", err)
	}
}

// Open ends with its context, whatever the peer does.
func TestContext(t *testing.T) {
	s := spiffetest.Start(t)
	for name, handler := range map[string]http.HandlerFunc{
		"no header": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"no message": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
		"half a message": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = w.Write([]byte{0, 0, 0, 1, 0, 10})
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		s.Answer(handler)
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		calls, done := s.Calls(), make(chan error, 1)
		go func() {
			_, err := store().Open(ctx, refOf(t, s), keystore.Options{})
			done <- err
		}()
		for s.Calls() == calls {
			time.Sleep(time.Millisecond)
		}
		cancel(why)
		begin := time.Now()
		if err := <-done; !errors.Is(err, why) {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("%s: ended after %v", name, time.Since(begin))
	}
}
