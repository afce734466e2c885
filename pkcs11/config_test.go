package pkcs11

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// uriOf returns the URI in the reference of a key.
func uriOf(t *testing.T, k *Key) URI {
	t.Helper()
	u, err := ParseURI(k.Ref().String())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// The reference of a key opens the same key. It contains the module and the PIN
// source, but no PIN.
func TestRef(t *testing.T) {
	source := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(source, []byte(fakePIN), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, uri := range []string{
		"pkcs11:object=a?pin-value=" + fakePIN,
		"pkcs11:object=b?pin-source=" + source,
		"pkcs11:id=%03?pin-source=file:" + source,
		"pkcs11:object=no%20name;type=cert?module-name=other&pin-source=" + source,
	} {
		token := newFakeToken("card")
		token.addKey(signertest.Key(t, "p256"), "a", "\x01")
		token.addKey(signertest.Key(t, "p384"), "b; 100%", "\x02")
		token.addKey(signertest.Key(t, "p521"), "b", "")
		last := signertest.Key(t, "rsa2048")
		token.addKey(last, "\xff", "\x03") // a URI cannot contain this label
		token.addCertificate(issue(t, last).Raw, "no name", "\x03")
		other := newFakeToken("other")
		other.addKey(signertest.NewKey(t, "p256"), "a", "\x01")
		b := newFixture(t, token, other)
		k := b.mustOpen(t, strings.Replace(uri, "pkcs11:", "pkcs11:token=card;", 1), Config{})
		u := uriOf(t, k)
		if u.PINValue != "" || strings.Contains(k.Ref().Rest, fakePIN) || u.ModulePath != b.path || u.ModuleName != "" {
			t.Errorf("%s: reference %s", uri, k.Ref())
		}
		again, err := open(t.Context(), Config{URI: u, PIN: fixedPIN(fakePIN)}, b.table)
		if err != nil {
			t.Errorf("%s: %s: %v", uri, k.Ref(), err)
			continue
		}
		if !signer.SamePublicKey(again.Public(), k.Public()) || again.Ref() != k.Ref() {
			t.Errorf("%s: %s opens a different key, %s", uri, k.Ref(), again.Ref())
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Prompts and errors name the key by Config.Ref, or by the URI without its PIN
// if Config.Ref is zero.
func TestKeyName(t *testing.T) {
	for _, test := range []struct {
		uri  string
		ref  keystore.Ref
		want string
	}{
		{"pkcs11:object=key?pin-source=/nowhere", keystore.Ref{}, "pkcs11:object=key"},
		{"pkcs11:object=key", keystore.Ref{Scheme: "pkcs11", Rest: "object=mine"}, "pkcs11:object=mine"},
	} {
		var asked keystore.Ref
		b := newFixture(t, newCard(t))
		k := b.mustOpen(t, test.uri, Config{Ref: test.ref, PIN: func(_ context.Context, p keystore.Prompt) ([]byte, error) {
			asked = p.Ref
			return []byte(fakePIN), nil
		}})
		if asked.String() != test.want {
			t.Errorf("%s: asked for %s, want %s", test.uri, asked, test.want)
		}
		b.fail("sign", ckrFunctionFailed)
		if err := signOnce(k); !errors.Is(err, ckrFunctionFailed) || !strings.Contains(err.Error(), "sign with "+test.want+":") {
			t.Errorf("%s: error %v, want %s", test.uri, err, test.want)
		}
	}
}

// Config.Logger gets a record when a token is lost and found again.
func TestLossLogged(t *testing.T) {
	var log strings.Builder
	b := newFixture(t, newCard(t))
	k := b.mustOpen(t, "pkcs11:", Config{
		PIN:    fixedPIN(fakePIN),
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	b.fail("sign", ckrDeviceRemoved)
	if err := signOnce(k); err != nil {
		t.Fatal(err)
	}
	if text := log.String(); strings.Count(text, "reconnecting to the token") != 1 || !strings.Contains(text, ckrDeviceRemoved.Error()) {
		t.Errorf("log %q", text)
	}
}
