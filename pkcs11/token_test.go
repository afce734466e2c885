package pkcs11

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Each URI in a hint opens a different key.
func TestHintURIsOpen(t *testing.T) {
	two := func() *fakeToken {
		token := newFakeToken("über & 100 % <;?>")
		token.addKey(signertest.NewKey(t, "p256"), "key / one", "\x00\x01")
		token.addKey(signertest.NewKey(t, "p256"), "key / one", "\x00\x02")
		token.addKey(signertest.NewKey(t, "p256"), "Schl\xfcssel", "\x03") // Latin-1
		return token
	}
	padded := func(label string) *fakeToken {
		token := newFakeToken(label)
		token.label += "\x00 \x00"
		token.tokenInfo.manufacturer = "Latin-1: \xe9"
		token.addKey(signertest.NewKey(t, "p256"), "key", "\x01")
		return token
	}
	for _, test := range []struct {
		name, uri string
		tokens    []*fakeToken
		want      error
		n         int
	}{
		{"keys", "pkcs11:", []*fakeToken{two()}, signer.ErrAmbiguous, 3},
		{"no key of that name", "pkcs11:object=missing", []*fakeToken{two()}, signer.ErrNotFound, 3},
		{"tokens", "pkcs11:", []*fakeToken{padded("a"), padded("b")}, signer.ErrAmbiguous, 2},
		{"no token of that name", "pkcs11:token=missing", []*fakeToken{padded("a"), padded("b")}, signer.ErrUnavailable, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t, test.tokens...)
			dir := t.TempDir()
			path := filepath.Join(dir, "a module; with a name?.so")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			table := &modules{load: f.initialize, byPath: make(map[string]*sharedModule)}
			u, err := ParseURI(test.uri)
			if err != nil {
				t.Fatal(err)
			}
			u.ModulePath = path
			_, err = open(t.Context(), Config{URI: u, PIN: fixedPIN(fakePIN)}, table)
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			var uris []string
			for _, word := range strings.Fields(signer.Hint(err)) {
				if strings.HasPrefix(word, "pkcs11:") {
					uris = append(uris, word)
				}
			}
			opened := make(map[string]bool)
			for _, s := range uris {
				u, err := ParseURI(s)
				if err != nil {
					t.Errorf("%s: %v", s, err)
					continue
				}
				k, err := open(t.Context(), Config{URI: u, PIN: fixedPIN(fakePIN)}, table)
				if err != nil {
					t.Errorf("%s: %v", s, err)
					continue
				}
				der, err := x509.MarshalPKIXPublicKey(k.Public())
				if err != nil {
					t.Error(err)
				}
				opened[string(der)] = true
				if err := k.Close(); err != nil {
					t.Error(err)
				}
			}
			if len(opened) != test.n {
				t.Errorf("hint %q opens %d keys, want %d", signer.Hint(err), len(opened), test.n)
			}
		})
	}
}

// A hint names the attributes that keep a token from matching.
func TestHintNamesTheAttribute(t *testing.T) {
	for uri, want := range map[string]string{
		"pkcs11:token=a;slot-id=7":                          "the attribute slot-id does not match; ",
		"pkcs11:token=a;slot-id=7;object=key;id=%01":        "the attribute slot-id does not match; ",
		"pkcs11:token=c":                                    "the attribute token does not match; ",
		"pkcs11:token=a;slot-description=x":                 "the attribute slot-description does not match; ",
		"pkcs11:token=a;library-version=9.9":                "the attribute library-version does not match; ",
		"pkcs11:token=a;slot-id=1":                          "no token matches all of the attributes token, slot-id; ",
		"pkcs11:token=a;serial=serial%20of%20b;slot-id=1":   "the attribute token does not match; ",
		"pkcs11:token=c;serial=serial%20of%20d;model=Other": "",
	} {
		_, err := newFixture(t, newFakeToken("a"), newFakeToken("b")).open(t, uri, Config{})
		if got := signer.Hint(err); !errors.Is(err, signer.ErrUnavailable) || !strings.HasPrefix(got, want+"use one of the tokens that are present: pkcs11:token=a;") {
			t.Errorf("%s: error %v, hint %q, want %q", uri, err, got, want)
		}
	}
}

// SoftHSM without a token is most often one whose configuration was not found.
func TestHintNoToken(t *testing.T) {
	t.Setenv("SOFTHSM2_CONF", t.TempDir()+"/none") // and HOME has none
	t.Setenv("HOME", t.TempDir())
	for path, want := range map[string]string{"/usr/lib/softhsm/libsofthsm2.so": "SoftHSM: ", "/usr/lib/opensc-pkcs11.so": "insert the card", "": "insert the card"} {
		_, err := oneToken(newFake(t), URI{ModulePath: path})
		if !errors.Is(err, signer.ErrUnavailable) || !strings.HasPrefix(signer.Hint(err), want) {
			t.Errorf("%q: error %v, hint %q, want %q", path, err, signer.Hint(err), want)
		}
	}
}

func TestTokenByURI(t *testing.T) {
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	empty := newFakeToken("empty")
	empty.flags &^= cktFlagTokenInitialized
	for uri, ok := range map[string]bool{
		"pkcs11:token=card": true, "pkcs11:token=car": false, "pkcs11:token=CARD": false, "pkcs11:token=card%20": true, "pkcs11:token=card%20%20%00%00": true, "pkcs11:token=card%20x": false,
		"pkcs11:serial=serial%20of%20card": true, "pkcs11:model=Fake": true, "pkcs11:manufacturer=Test": true, "pkcs11:model=Other": false,
		"pkcs11:slot-id=0": true, "pkcs11:slot-id=1": false, "pkcs11:slot-id=9": false, "pkcs11:slot-id=00": true,
		"pkcs11:slot-description=slot": true, "pkcs11:slot-description=x": false, "pkcs11:slot-manufacturer=Test": true, "pkcs11:slot-manufacturer=x": false,
		"pkcs11:library-version=2.40": true, "pkcs11:library-version=2": false, "pkcs11:library-version=02.040": true, "pkcs11:library-version=2.4": false, "pkcs11:library-version=3.40": false,
		"pkcs11:library-description=Fake%20library": true, "pkcs11:library-description=x": false, "pkcs11:library-manufacturer=x": false,
		"pkcs11:token=empty": false,
	} {
		b := newFixture(t, token, empty)
		k, err := b.open(t, uri, Config{PIN: fixedPIN(fakePIN)})
		if (err == nil) != ok {
			t.Errorf("%s: error %v", uri, err)
		}
		if err != nil && !errors.Is(err, signer.ErrUnavailable) {
			t.Errorf("%s: error %v, want signer.ErrUnavailable", uri, err)
		}
		if k != nil {
			if err := k.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	b := newFixture(t)
	if _, err := b.open(t, "pkcs11:", Config{}); !errors.Is(err, signer.ErrUnavailable) || signer.Hint(err) == "" {
		t.Errorf("no token: error %v, hint %q", err, signer.Hint(err))
	}
}
