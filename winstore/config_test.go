package winstore

import (
	"crypto"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/selector"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// If several keys match, Open selects the key that belongs to one of
// Config.Certificates. If there is no such key, Open ignores them.
func TestOpenByCertificate(t *testing.T) {
	f, first, _ := withKey(t, "p256")
	other := signertest.NewCA(t, "other")
	second := signertest.Key(t, "p384")
	f.add(User, "MY", signertest.NewCA(t, "root").Issue(t, second, nil), second, &keyInfo{container: "k2", provider: softwareProvider})
	subject, err := selector.ParseDN("CN=client")
	if err != nil {
		t.Fatal(err)
	}
	sum := selector.For(first)
	for _, test := range []struct {
		name     string
		selector selector.Selector
		given    *x509.Certificate
		want     crypto.PublicKey // nil: ambiguous
	}{
		{"for the other key", selector.Selector{}, other.Issue(t, second, nil), second.Public()},
		{"for the other key, with a subject that matches both", selector.Selector{Subject: subject}, other.Issue(t, second, nil), second.Public()},
		{"for no key in the store", selector.Selector{}, other.Issue(t, signertest.Key(t, "p521"), nil), nil},
		{"for a key that the selector does not match", sum, other.Issue(t, second, nil), first.PublicKey},
	} {
		k, err := open(t.Context(), f, Config{Selector: test.selector, Certificates: []*x509.Certificate{test.given}})
		switch {
		case test.want == nil:
			if !errors.Is(err, signer.ErrAmbiguous) {
				t.Errorf("%s: error %v", test.name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", test.name, err)
		default:
			if !signer.SamePublicKey(k.Public(), test.want) {
				t.Errorf("%s: opened %s", test.name, k.Ref())
			}
			k.Close()
		}
	}
}

// The chain of a key without a certificate in the store is built from
// Config.Certificates.
func TestChainFromConfig(t *testing.T) {
	f, _, _ := withKey(t, "p256")
	ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
	leaf := ca.Issue(t, signertest.Key(t, "p256"), nil)
	cfg := Config{Key: "k", Provider: "software", Certificates: []*x509.Certificate{ca.Cert, leaf}}
	if k := mustOpen(t, f, cfg); len(k.Chain()) != 1 || k.Chain()[0].Equal(leaf) {
		t.Errorf("chain of %d certificates, want the certificate in the store", len(k.Chain()))
	}
	f.stores[`user\my`] = nil
	if k := mustOpen(t, f, cfg); len(k.Chain()) != 2 || !k.Chain()[0].Equal(leaf) {
		t.Errorf("chain of %d certificates, want 2", len(k.Chain()))
	}
	cfg.Certificates = cfg.Certificates[:1]
	if k := mustOpen(t, f, cfg); k.Chain() != nil {
		t.Errorf("chain of %d certificates for other keys", len(k.Chain()))
	}
}

// Errors name the key by Config.Ref, or else by its own reference.
func TestNameOfKey(t *testing.T) {
	given := keystore.Ref{Scheme: scheme, Rest: "subject=CN=client"}
	for _, cfg := range []Config{{}, {Ref: given}, {Key: "k", Provider: "software"}, {Key: "k", Provider: "software", Ref: given}} {
		f, _, _ := withKey(t, "p256")
		k := mustOpen(t, f, cfg)
		want := k.Ref()
		if !cfg.Ref.IsZero() {
			want = given
		}
		f.faults["signDigest"] = scardRemoved
		_, err := k.Sign(nil, make([]byte, 32), crypto.SHA256)
		if !errors.Is(err, scardRemoved) || !strings.Contains(err.Error(), "sign with "+want.String()+":") {
			t.Errorf("%v, want the name %s", err, want)
		}
	}
}

// Open logs an error of the search for issuers.
func TestMissingIssuersAreLogged(t *testing.T) {
	f, _, _ := withKey(t, "p256")
	f.faults["issuers"] = cryptNotFound
	var log strings.Builder
	mustOpen(t, f, Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if !strings.Contains(log.String(), cryptNotFound.Error()) {
		t.Errorf("log %q", log.String())
	}
}
