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

// Of several keys that match, the one of a certificate from elsewhere is taken;
// if there is none, the certificate plays no part.
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
		known    *x509.Certificate
		want     crypto.PublicKey // nil: ambiguous
	}{
		{"the other key's", selector.Selector{}, other.Issue(t, second, nil), second.Public()},
		{"the other key's, of the same name", selector.Selector{Subject: subject}, other.Issue(t, second, nil), second.Public()},
		{"nobody's", selector.Selector{}, other.Issue(t, signertest.Key(t, "p521"), nil), nil},
		{"one that the selector refuses", sum, other.Issue(t, second, nil), first.PublicKey},
	} {
		k, err := open(t.Context(), f, Config{Selector: test.selector, Certificates: []*x509.Certificate{test.known}})
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

// A key without a certificate in the store has the chain that it was given.
func TestChainFromElsewhere(t *testing.T) {
	f, _, _ := withKey(t, "p256")
	ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
	leaf := ca.Issue(t, signertest.Key(t, "p256"), nil)
	cfg := Config{Key: "k", Provider: "software", Certificates: []*x509.Certificate{ca.Cert, leaf}}
	if k := mustOpen(t, f, cfg); len(k.Chain()) != 1 || k.Chain()[0].Equal(leaf) {
		t.Errorf("a chain of %d certificates in place of the store's", len(k.Chain()))
	}
	f.stores[`user\my`] = nil
	if k := mustOpen(t, f, cfg); len(k.Chain()) != 2 || !k.Chain()[0].Equal(leaf) {
		t.Errorf("chain of %d certificates, want 2", len(k.Chain()))
	}
	cfg.Certificates = cfg.Certificates[:1]
	if k := mustOpen(t, f, cfg); k.Chain() != nil {
		t.Errorf("chain of %d certificates of others", len(k.Chain()))
	}
}

// Errors name the key by Config.Ref, or else by its own reference.
func TestNameOfKey(t *testing.T) {
	mine := keystore.Ref{Scheme: scheme, Rest: "subject=CN=client"}
	for _, cfg := range []Config{{}, {Ref: mine}, {Key: "k", Provider: "software"}, {Key: "k", Provider: "software", Ref: mine}} {
		f, _, _ := withKey(t, "p256")
		k := mustOpen(t, f, cfg)
		want := k.Ref()
		if !cfg.Ref.IsZero() {
			want = mine
		}
		f.faults["signDigest"] = scardRemoved
		_, err := k.Sign(nil, make([]byte, 32), crypto.SHA256)
		if !errors.Is(err, scardRemoved) || !strings.Contains(err.Error(), "sign with "+want.String()+":") {
			t.Errorf("%v, want the name %s", err, want)
		}
	}
}

// The Logger is told if Windows finds no issuers.
func TestMissingIssuersAreLogged(t *testing.T) {
	f, _, _ := withKey(t, "p256")
	f.faults["issuers"] = cryptNotFound
	var log strings.Builder
	mustOpen(t, f, Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if !strings.Contains(log.String(), cryptNotFound.Error()) {
		t.Errorf("log %q", log.String())
	}
}
