//go:build linux && (amd64 || arm64)

package keychain

import (
	"context"
	"crypto"
	"errors"
	"sync"
	"testing"

	"github.com/holdfast-dev/holdfast/keychain/internal/fakesec"
	"github.com/holdfast-dev/holdfast/keychain/internal/native"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// addTo adds an identity and its issuer to the keychains of the double.
func addTo(t *testing.T, d *fakesec.Double, scope native.Scope, kind, label, token string) {
	t.Helper()
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	key := signertest.Key(t, kind)
	d.Add(t, fakesec.Item{Scope: scope, Label: label, Token: token, Certificate: ca.Issue(t, key, nil).Raw, Key: key})
	d.Add(t, fakesec.Item{Scope: native.Files, Label: "intermediate", Certificate: ca.Cert.Raw})
}

// TestContractWithDouble tests open and the binding, which calls the double in C.
// The double fails the test if a reference is not released.
func TestContractWithDouble(t *testing.T) {
	for _, test := range []struct {
		kind  string
		scope native.Scope
		token string
	}{
		{"rsa2048", native.Files, ""},
		{"rsa2048", native.Tokens, card},
		{"p256", native.Files, ""},
		{"p256", native.Tokens, "com.apple.ctkcard:user"},
		{"p384", native.DataProtection, ""},
	} {
		t.Run(test.kind+" in "+test.scope.String(), func(t *testing.T) {
			d := fakesec.New(t)
			addTo(t, d, test.scope, test.kind, "app", test.token)
			signertest.Run(t, func(t *testing.T) signer.Signer {
				k, err := open(t.Context(), Config{Label: "app", Token: test.token}, d.API)
				if err != nil {
					t.Fatal(err)
				}
				if len(k.Chain()) != 2 {
					t.Errorf("chain of %d certificates, want 2", len(k.Chain()))
				}
				return k
			})
		})
	}
}

func TestListWithDouble(t *testing.T) {
	d := fakesec.New(t)
	addTo(t, d, native.Files, "p256", "Ünïcode “label” 𝄞", "")
	addTo(t, d, native.Tokens, "rsa2048", "card", card) // also in the data-protection keychain
	entries, err := list(t.Context(), Config{}, d.API)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%d entries, error %v", len(entries), err)
	}
	for _, e := range entries {
		k, err := open(t.Context(), config(t, e.Ref.Rest), d.API)
		if err != nil {
			t.Errorf("%s: %v", e.Ref, err)
			continue
		}
		k.Close()
	}
}

// If a call fails, the objects from earlier calls are released.
func TestFailuresWithDouble(t *testing.T) {
	for _, test := range []struct {
		name string
		set  func(*fakesec.Double)
		want error
	}{
		{"list", func(d *fakesec.Double) { d.FailFind(fakesec.Scope(native.Tokens), -25308) }, signer.ErrPINRequired},
		{"certificate", func(d *fakesec.Double) { d.FailCertificate(-25293, 0) }, signer.ErrPINIncorrect},
		{"key", func(d *fakesec.Double) { d.FailKey(-25308, 0) }, signer.ErrPINRequired},
		{"algorithm", func(d *fakesec.Double) { d.Disable("ECDSA") }, errors.ErrUnsupported},
		{"signature", func(d *fakesec.Double) { d.FailSign("com.apple.LocalAuthentication", -2, "annulé") }, signer.ErrPINRequired},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := fakesec.New(t)
			addTo(t, d, native.Tokens, "p256", "app", card)
			test.set(d)
			k, err := open(t.Context(), Config{Token: card}, d.API)
			if err == nil {
				defer k.Close()
				_, err = k.Sign(nil, digest[:], crypto.SHA256)
			}
			if !errors.Is(err, test.want) || signer.Hint(err) == "" {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func TestCloseDuringSignWithDouble(t *testing.T) {
	d := fakesec.New(t)
	addTo(t, d, native.Files, "p256", "app", "")
	k, err := open(t.Context(), Config{}, d.API)
	if err != nil {
		t.Fatal(err)
	}
	d.Gate(1)
	const signers = 3
	var all sync.WaitGroup
	for range signers {
		all.Go(func() {
			if _, err := k.Sign(nil, digest[:], crypto.SHA256); err != nil {
				t.Error(err)
			}
		})
	}
	d.Await(signers)
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	d.Gate(0)
	all.Wait()
}

func TestOpenObservesContextWithDouble(t *testing.T) {
	d := fakesec.New(t)
	addTo(t, d, native.Files, "p256", "app", "")
	d.Gate(1)
	ctx, cancel := context.WithCancel(t.Context())
	opened := make(chan error)
	closed := make(chan struct{})
	go func() {
		_, err := withContext(ctx, func() (*Key, error) { return openBlocking(Config{}, d.API) },
			func(k *Key) { k.Close(); close(closed) })
		opened <- err
	}()
	d.Await(1)
	cancel()
	if err := <-opened; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	d.Gate(0)
	<-closed
}
