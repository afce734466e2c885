//go:build cgo

package pkcs11_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var hsm *pkcs11test.SoftHSM // set by TestMain; nil if SoftHSM is not installed

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "holdfast-pkcs11-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if hsm, _, err = pkcs11test.Find(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

func softHSM(tb testing.TB) *pkcs11test.SoftHSM {
	tb.Helper()
	if hsm == nil {
		signertest.Require(tb, "softhsm", "softhsm2-util")
	}
	return hsm
}

func withPIN(pin string) keystore.Call {
	return keystore.Call{Options: keystore.Options{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(pin), nil }}}
}

func ref(t testing.TB, uri, more string) keystore.Ref {
	t.Helper()
	u, err := pkcs11.ParseURI(uri)
	if err != nil {
		t.Fatal(err)
	}
	add, err := pkcs11.ParseURI("pkcs11:" + more)
	if err != nil {
		t.Fatal(err)
	}
	u.Object, u.ID, u.Type = add.Object, add.ID, add.Type
	r, err := keystore.ParseRef(u.String())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var keyTypes = []keystore.KeyType{
	keystore.RSA2048, keystore.RSA3072, keystore.P256, keystore.P384, keystore.P521, keystore.Ed25519,
}

// eachIsolation runs f with a new token, once with the module in this process and once
// in the helper.
func eachIsolation(t *testing.T, f func(t *testing.T, token string)) {
	t.Helper()
	hsm := softHSM(t)
	pkcs11test.UseHelper(t)
	for _, isolation := range []string{pkcs11.IsolationOff, pkcs11.IsolationOn} {
		t.Run("isolation="+isolation, func(t *testing.T) { f(t, hsm.Token(t)+"&isolation="+isolation) })
	}
}

func TestContract(t *testing.T) { eachIsolation(t, contract) }

func contract(t *testing.T, token string) {
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	var b pkcs11.Backend
	for _, kind := range keyTypes {
		t.Run(string(kind), func(t *testing.T) {
			r := ref(t, token, "object="+string(kind))
			key, err := b.Generate(t.Context(), r, keystore.KeySpec{Type: kind}, withPIN(pkcs11test.PIN))
			if err != nil {
				t.Fatal(err)
			}
			leaf := ca.Issue(t, key, nil)
			if err := key.Close(); err != nil {
				t.Fatal(err)
			}
			pasted, err := keystore.ParseRef(key.Ref().String())
			if err != nil || !strings.Contains(pasted.Rest, "id=") || strings.Contains(pasted.Rest, "pin-") {
				t.Fatalf("%s, error %v", pasted, err)
			}
			again, err := b.Open(t.Context(), pasted, withPIN(pkcs11test.PIN))
			if err != nil {
				t.Fatalf("%s: %v", pasted, err)
			}
			if !signer.SamePublicKey(again.Public(), leaf.PublicKey) {
				t.Errorf("%s opens a different key", pasted)
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Install(t.Context(), r, only(append(ca.Chain(), leaf)[1:]...), withPIN(pkcs11test.PIN)); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Install(t.Context(), r, only(append(ca.Chain(), leaf)...), withPIN(pkcs11test.PIN)); err != nil {
				t.Fatal(err)
			}
			signertest.Run(t, func(t *testing.T) signer.Signer {
				s, err := b.Open(t.Context(), r, withPIN(pkcs11test.PIN))
				if err != nil {
					t.Fatal(err)
				}
				if n := len(s.Chain()); n != 2 {
					t.Errorf("chain of %d certificates", n)
				}
				return s
			})
		})
	}
}

func TestList(t *testing.T) { eachIsolation(t, checkList) }

func checkList(t *testing.T, token string) {
	var b pkcs11.Backend
	r := ref(t, token, "object=listed")
	key, err := b.Generate(t.Context(), r, keystore.KeySpec{Type: keystore.P256}, withPIN(pkcs11test.PIN))
	if err != nil {
		t.Fatal(err)
	}
	leaf := signertest.NewCA(t, "root").Issue(t, key, nil)
	if err := key.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Install(t.Context(), r, only(leaf), withPIN(pkcs11test.PIN)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		call keystore.Call
		want []keystore.EntryKind
	}{
		{keystore.Call{}, []keystore.EntryKind{keystore.TokenEntry, keystore.CertificateEntry}},
		{withPIN(pkcs11test.PIN), []keystore.EntryKind{keystore.TokenEntry, keystore.KeyEntry, keystore.CertificateEntry}},
	} {
		entries, err := b.List(t.Context(), ref(t, token, ""), c.call)
		if err != nil {
			t.Fatal(err)
		}
		var kinds []keystore.EntryKind
		for _, e := range entries {
			kinds = append(kinds, e.Kind)
		}
		if !slices.Equal(kinds, c.want) {
			t.Errorf("listed %v, want %v", kinds, c.want)
		}
		for _, e := range entries {
			if e.Kind == keystore.KeyEntry && !signer.SamePublicKey(e.Public, leaf.PublicKey) ||
				e.Kind == keystore.CertificateEntry && !e.Certificate.Equal(leaf) {
				t.Errorf("%s is a different object", e.Ref)
			}
			again, err := keystore.ParseRef(e.Ref.String())
			if err != nil {
				t.Fatal(err)
			}
			s, err := b.Open(t.Context(), again, withPIN(pkcs11test.PIN))
			if err != nil {
				t.Errorf("%s does not open: %v", again, err)
				continue
			}
			if !signer.SamePublicKey(s.Public(), leaf.PublicKey) {
				t.Errorf("%s opens a different key", again)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// Generate refuses a label or ID that a key already has. The hint names this
// key.
func TestGenerateTwice(t *testing.T) { eachIsolation(t, generateTwice) }

func generateTwice(t *testing.T, token string) {
	var b pkcs11.Backend
	spec := keystore.KeySpec{Type: keystore.P256}
	prompts := 0
	asked := keystore.Call{Options: keystore.Options{PIN: func(context.Context, keystore.Prompt) ([]byte, error) {
		prompts++
		return []byte(pkcs11test.PIN), nil
	}}}
	key, err := b.Generate(t.Context(), ref(t, token, "object=a;id=%01"), spec, asked)
	if err != nil {
		t.Fatal(err)
	}
	if prompts != 1 {
		t.Errorf("%d prompts, want 1", prompts)
	}
	if err := key.Close(); err != nil { // which logs out
		t.Fatal(err)
	}
	for _, name := range []string{"object=a", "id=%01", "object=a;id=%01"} {
		_, err := b.Generate(t.Context(), ref(t, token, name), spec, withPIN(pkcs11test.PIN))
		if !errors.Is(err, fs.ErrExist) {
			t.Fatalf("%s: error %v, want fs.ErrExist", name, err)
		}
		_, uri, _ := strings.Cut(signer.Hint(err), "pkcs11:")
		r, err := keystore.ParseRef("pkcs11:" + uri)
		if err != nil {
			t.Fatal(err)
		}
		again, err := b.Open(t.Context(), r, withPIN(pkcs11test.PIN))
		if err != nil {
			t.Fatal(err)
		}
		if !signer.SamePublicKey(again.Public(), key.Public()) {
			t.Errorf("%s: the hint names a different key, %s", name, r)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
}
