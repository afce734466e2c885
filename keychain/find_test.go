package keychain

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keychain/internal/native"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const card = "com.apple.pivtoken:01"

// config parses the rest of a reference.
func config(t *testing.T, rest string) Config {
	t.Helper()
	cfg, err := configFor(keystore.Ref{Scheme: scheme, Rest: rest}, keystore.Call{})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestOpenChooses(t *testing.T) {
	f := newFake(t)
	login := f.add(t, native.Files, "p256", "login", "", serial(1))
	renewed := f.add(t, native.Files, "rsa2048", "renewed", "", expires(3*time.Hour))
	f.add(t, native.Files, "rsa2048", "renewed", "", expires(2*time.Hour))
	protected := f.add(t, native.DataProtection, "p384", "app; 100%", "", serial(2))
	smart := f.add(t, native.Tokens, "p521", "card", card, serial(0xab))
	sum := sha256.Sum256(smart.Raw)
	for rest, want := range map[string]any{
		"label=login":                          login,
		"label=app%3B 100%25":                  protected,
		"label=card":                           smart,
		"token=" + card:                        smart,
		"serial=0xAB":                          smart,
		"serial=1":                             login,
		"sha256=" + hex.EncodeToString(sum[:]): smart,
		"label=renewed;newest=yes":             renewed,
		"newest=yes;token=" + card:             smart,
		"label=renewed":                        signer.ErrAmbiguous,
		"":                                     signer.ErrAmbiguous,
		"subject=CN=client":                    signer.ErrAmbiguous,
		"label=Login":                          signer.ErrNotFound,
		"label=login;token=" + card:            signer.ErrNotFound,
		"label=login;subject=CN=other":         signer.ErrNotFound,
		"token=com.apple.pivtoken:02":          signer.ErrNotFound,
		"issuer=CN=nobody":                     signer.ErrNotFound,
		"issuer=CN=root;label=login":           login,
	} {
		k, err := open(t.Context(), config(t, rest), f)
		switch want := want.(type) {
		case *x509.Certificate:
			if err != nil {
				t.Errorf("%s: %v", rest, err)
				continue
			}
			if !sameChain(k.Chain(), []*x509.Certificate{want}) {
				t.Errorf("%s: opened %v", rest, k.Ref())
			}
			again, err := open(t.Context(), config(t, k.Ref().Rest), f)
			if err != nil || !sameChain(again.Chain(), k.Chain()) || again.Ref() != k.Ref() {
				t.Fatalf("%s does not open the same identity: %v", k.Ref(), err)
			}
			again.Close()
			k.Close()
		case error:
			if k != nil || !errors.Is(err, want) || signer.Hint(err) == "" {
				t.Errorf("%s: error %v, hint %q, want %v", rest, err, signer.Hint(err), want)
			}
		}
	}
}

// The hint lists identities that do not match, up to a limit.
func TestHintListsIdentities(t *testing.T) {
	f := newFake(t)
	for range 20 {
		f.add(t, native.Files, "p256", "app", "", nil)
	}
	_, err := open(t.Context(), config(t, "label=none"), f)
	if n := strings.Count(signer.Hint(err), "keychain:label=app;"); n != maxListed {
		t.Errorf("%d identities in %q, want %d", n, signer.Hint(err), maxListed)
	}
}

// If several identities match, Open selects the one whose key belongs to one of
// Config.Certificates. If there is no such identity, Open ignores them.
func TestOpenByCertificate(t *testing.T) {
	f := newFake(t)
	f.add(t, native.Files, "p256", "app", "", nil)
	f.add(t, native.Files, "p384", "app", "", nil)
	cfg := config(t, "label=app")
	cfg.Certificates = []*x509.Certificate{signertest.NewCA(t, "other").Issue(t, signertest.Key(t, "p384"), nil)}
	k, err := open(t.Context(), cfg, f)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if !signer.SamePublicKey(k.Public(), cfg.Certificates[0].PublicKey) {
		t.Errorf("opened %v", k.Ref())
	}
	// It also ignores them if the selector does not match that identity.
	exact := config(t, "serial=2")
	exact.Certificates = cfg.Certificates
	f.add(t, native.Files, "rsa2048", "app", "", serial(2))
	second, err := open(t.Context(), exact, f)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	cfg.Certificates[0] = signertest.NewCA(t, "other").Issue(t, signertest.Key(t, "p521"), nil)
	if _, err := open(t.Context(), cfg, f); !errors.Is(err, signer.ErrAmbiguous) {
		t.Errorf("certificate for another key: error %v", err)
	}
}

func TestScopes(t *testing.T) {
	for _, test := range []struct {
		name string
		fail map[native.Scope]error
		rest string
		want error // nil: opened
	}{
		{"no error", nil, "label=app", nil},
		{"locked, found in another scope", map[native.Scope]error{native.Files: osStatus(-25308)}, "label=app", nil},
		{"locked, not found in other scopes", map[native.Scope]error{native.Files: osStatus(-25308)}, "label=x", signer.ErrPINRequired},
		{"locked, not found in other scopes, second error", map[native.Scope]error{native.Files: osStatus(-25308)}, "label=x", signer.ErrNotFound},
		{"locked, without a label", map[native.Scope]error{native.Files: osStatus(-25293)}, "subject=CN=x", signer.ErrPINIncorrect},
		{"no entitlement, found", map[native.Scope]error{native.DataProtection: osStatus(-34018)}, "label=app", nil},
		{"no entitlement, not found", map[native.Scope]error{native.DataProtection: osStatus(-34018)}, "label=x", signer.ErrNotFound},
		{"tokens fail, reference with a token", map[native.Scope]error{native.Tokens: osStatus(-34018)}, "token=" + card, errors.ErrUnsupported},
		{"other scopes fail, reference with a token", map[native.Scope]error{native.Files: osStatus(-25308), native.DataProtection: osStatus(-34018)}, "token=" + card, nil},
		{"all scopes fail", map[native.Scope]error{native.Files: osStatus(-25308), native.DataProtection: osStatus(-34018), native.Tokens: osStatus(-2070)}, "label=app", signer.ErrPINRequired},
		{"all scopes fail, second error", map[native.Scope]error{native.Files: osStatus(-25308), native.DataProtection: osStatus(-34018), native.Tokens: osStatus(-2070)}, "label=app", signer.ErrUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			f.add(t, native.Tokens, "p256", "app", card, nil)
			f.fail = test.fail
			k, err := open(t.Context(), config(t, test.rest), f)
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if err == nil {
				k.Close()
				return
			}
			if strings.Contains(err.Error(), "\n") || signer.Hint(err) == "" {
				t.Errorf("error %q, hint %q: want one line and a hint", err, signer.Hint(err))
			}
		})
	}
}

// A missing entitlement is not the reason why no identity was found.
func TestMissingEntitlementIsIgnored(t *testing.T) {
	f := newFake(t)
	f.fail = map[native.Scope]error{native.DataProtection: osStatus(-34018)}
	if _, err := open(t.Context(), config(t, "label=x"), f); errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("error %v", err)
	}
}

// A locked keychain does not change the error for an ambiguous reference.
func TestAmbiguousWithLockedKeychain(t *testing.T) {
	f := newFake(t)
	f.add(t, native.Tokens, "p256", "app", card, nil)
	f.add(t, native.Tokens, "p256", "app", card, nil)
	f.fail = map[native.Scope]error{native.Files: osStatus(-25308)}
	_, err := open(t.Context(), config(t, "label=app"), f)
	if !errors.Is(err, signer.ErrAmbiguous) || errors.Is(err, signer.ErrPINRequired) {
		t.Errorf("error %v", err)
	}
}

func TestIdentitiesThatCannotBeUsed(t *testing.T) {
	t.Run("certificate", func(t *testing.T) {
		f := newFake(t)
		f.items = append(f.items, fakeItem{native.Files, "bad", "", []byte("no DER"), signertest.Key(t, "p256")})
		f.add(t, native.Files, "p256", "good", "", nil)
		if _, err := open(t.Context(), config(t, "label=bad"), f); !errors.Is(err, signer.ErrNotFound) {
			t.Errorf("error %v", err)
		}
		k, err := open(t.Context(), config(t, ""), f)
		if err != nil {
			t.Fatalf("next to a broken identity: %v", err)
		}
		k.Close()
	})
	t.Run("key type", func(t *testing.T) {
		f := newFake(t)
		f.add(t, native.Files, "ed25519", "edwards", "", nil)
		if _, err := open(t.Context(), config(t, "label=edwards"), f); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("unreadable", func(t *testing.T) {
		f := newFake(t)
		f.add(t, native.Files, "p256", "app", "", nil)
		f.broken = osStatus(-25293)
		_, err := open(t.Context(), config(t, "label=app"), f)
		var e Error
		if !errors.Is(err, signer.ErrNotFound) || !errors.Is(err, signer.ErrPINIncorrect) || !errors.As(err, &e) || signer.Hint(err) != e.Hint() {
			t.Errorf("error %v, hint %q", err, signer.Hint(err))
		}
		if entries, err := list(t.Context(), Config{}, f); len(entries) != 0 || !errors.Is(err, signer.ErrPINIncorrect) || !strings.Contains(err.Error(), `"app"`) {
			t.Errorf("%d entries, error %v", len(entries), err)
		}
	})
	t.Run("key", func(t *testing.T) {
		f := newFake(t)
		f.add(t, native.Files, "p256", "app", "", nil)
		f.onKey = func() error { return osStatus(-25300) }
		_, err := open(t.Context(), config(t, "label=app"), f)
		var e Error
		if !errors.As(err, &e) || e.Code != -25300 || !errors.Is(err, signer.ErrNotFound) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("not for signing", func(t *testing.T) {
		f := newFake(t)
		f.add(t, native.Files, "p256", "app", "", nil)
		f.unsupported = func(string) bool { return true }
		if _, err := open(t.Context(), config(t, "label=app"), f); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("error %v", err)
		}
	})
}

// The chain is built from the certificates in the keychains. Its leaf is the
// selected certificate, even if another certificate for the key expires later.
func TestChain(t *testing.T) {
	f := newFake(t)
	root := signertest.NewCA(t, "root")
	ca := root.Intermediate(t, "intermediate")
	key := signertest.Key(t, "p256")
	early := ca.Issue(t, key, expires(time.Hour))
	late := ca.Issue(t, key, expires(2*time.Hour))
	f.items = []fakeItem{{native.Files, "early", "", early.Raw, key}, {native.Files, "late", "", late.Raw, key}}
	f.certs = []*x509.Certificate{root.Cert, late, ca.Cert, signertest.NewCA(t, "other").Cert}
	k, err := open(t.Context(), config(t, "label=early"), f)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if want := []*x509.Certificate{early, ca.Cert}; !sameChain(k.Chain(), want) {
		t.Errorf("chain has %d certificates, want %d", len(k.Chain()), len(want))
	}
	certs, err := certificates(t.Context(), config(t, "label=early"), f)
	if err != nil || !sameChain(certs, k.Chain()) {
		t.Errorf("%d certificates, error %v", len(certs), err)
	}
	if _, err := certificates(t.Context(), config(t, "label=none"), f); !errors.Is(err, signer.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

func TestList(t *testing.T) {
	f := newFake(t)
	f.add(t, native.Files, "p256", "login", "", nil)
	f.add(t, native.DataProtection, "p384", "protected", "", nil)
	f.add(t, native.Tokens, "rsa2048", "card", card, nil)
	f.add(t, native.Files, "ed25519", "edwards", "", nil)
	f.items = append(f.items, fakeItem{native.Files, "bad", "", []byte("no DER"), signertest.Key(t, "p256")})
	for rest, want := range map[string]string{
		"": "login edwards protected card", "label=card": "card", "token=" + card: "card",
		"label=none": "", "subject=CN=client": "login edwards protected card", "issuer=CN=nobody": "", "label=bad": "",
	} {
		entries, err := list(t.Context(), config(t, rest), f)
		cfg := config(t, rest)
		if incomplete := cfg.Label == "bad" || cfg.Label == "" && cfg.Token == ""; (err != nil) != incomplete || incomplete && !strings.Contains(err.Error(), "label=bad") {
			t.Errorf("%q: error %v, want an error: %t", rest, err, incomplete)
		}
		var labels []string
		for _, e := range entries {
			cfg := config(t, e.Ref.Rest)
			labels = append(labels, cfg.Label)
			if cfg.Label == "edwards" { // the key type is not supported
				if e.Kind != keystore.CertificateEntry || e.Public != nil || e.Certificate == nil {
					t.Errorf("%s: entry %+v", e.Ref, e)
				}
				continue
			}
			if e.Kind != keystore.KeyEntry || !signer.SamePublicKey(e.Public, e.Certificate.PublicKey) {
				t.Errorf("%s: entry %+v", e.Ref, e)
			}
			k, err := open(t.Context(), cfg, f)
			if err != nil {
				t.Errorf("%s: %v", e.Ref, err)
				continue
			}
			if !sameChain(k.Chain(), []*x509.Certificate{e.Certificate}) {
				t.Errorf("%s opens another certificate", e.Ref)
			}
			k.Close()
		}
		if got := strings.Join(labels, " "); got != want {
			t.Errorf("%q: %q, want %q", rest, got, want)
		}
	}
}

func TestListWithErrors(t *testing.T) {
	f := newFake(t)
	f.add(t, native.Files, "p256", "login", "", nil)
	for _, test := range []struct {
		name    string
		fail    map[native.Scope]error
		entries int
		want    error
	}{
		{"no entitlement", map[native.Scope]error{native.DataProtection: osStatus(-34018)}, 1, nil},
		{"two scopes unavailable", map[native.Scope]error{native.Tokens: osStatus(-2070), native.DataProtection: osStatus(-25291)}, 1, signer.ErrUnavailable},
		{"tokens unavailable", map[native.Scope]error{native.Tokens: osStatus(-2070)}, 1, signer.ErrUnavailable},
		{"locked", map[native.Scope]error{native.Files: osStatus(-25308)}, 0, signer.ErrPINRequired},
		{"all scopes fail", map[native.Scope]error{native.Files: osStatus(-34018), native.DataProtection: osStatus(-34018), native.Tokens: osStatus(-34018)}, 0, errors.ErrUnsupported},
	} {
		f.fail = test.fail
		entries, err := list(t.Context(), Config{}, f)
		if len(entries) != test.entries || !errors.Is(err, test.want) {
			t.Errorf("%s: %d entries, error %v, want %d and %v", test.name, len(entries), err, test.entries, test.want)
		}
		for scope, cause := range test.fail {
			if names := err != nil && strings.Contains(err.Error(), scope.String()); names != (test.want != nil) && !ignorable(asError(cause)) {
				t.Errorf("%s: error %v does not name the %s", test.name, err, scope)
			}
		}
	}
}

// Open logs the errors of scopes if it finds the identity.
func TestErrorsOfScopesAreLogged(t *testing.T) {
	for code, want := range map[int]slog.Level{-25308: slog.LevelWarn, -34018: slog.LevelDebug} {
		f := newFake(t)
		f.add(t, native.Files, "p256", "login", "", nil)
		f.fail = map[native.Scope]error{native.DataProtection: osStatus(code)}
		levels := make(chan slog.Level, 9)
		cfg := config(t, "label=login")
		cfg.Logger = slog.New(levelHandler{levels})
		k, err := open(t.Context(), cfg, f)
		if err != nil {
			t.Fatal(err)
		}
		k.Close()
		if got := <-levels; got != want {
			t.Errorf("%d is logged at %v, want %v", code, got, want)
		}
	}
}

type levelHandler struct{ levels chan slog.Level }

func (h levelHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h levelHandler) Handle(_ context.Context, r slog.Record) error {
	h.levels <- r.Level
	return nil
}
func (h levelHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h levelHandler) WithGroup(string) slog.Handler      { return h }

// newest uses the time of Config.Now.
func TestNewestUsesNow(t *testing.T) {
	f := newFake(t)
	f.add(t, native.Files, "p256", "app", "", expires(time.Hour))
	cfg := config(t, "newest=yes")
	cfg.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if _, err := open(t.Context(), cfg, f); !errors.Is(err, signer.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}
