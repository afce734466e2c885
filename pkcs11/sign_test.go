package pkcs11

import (
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"slices"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestWithoutPSS(t *testing.T) {
	token := newFakeToken("hsm")
	token.mechs = []uint{ckmRSA, ckmECDSA}
	token.addKey(signertest.Key(t, "rsa2048"), "key", "\x01")
	k := newFixture(t, token).mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
	if got := k.SignatureSchemes(); !slices.Equal(got, schemes.Get(ckmRSA)) {
		t.Errorf("schemes %v, want the schemes of PKCS #1 v1.5", got)
	}
	_, err := k.Sign(nil, digestOf(1), &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256})
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("PSS: error %v, want errors.ErrUnsupported", err)
	}
	if err := signOnce(k); err != nil {
		t.Errorf("after that: %v", err)
	}
}

func TestSignatureSchemes(t *testing.T) {
	token := newFakeToken("hsm")
	token.addKey(signertest.Key(t, "rsa2048"), "key", "\x01")
	b := newFixture(t, token)
	k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
	closed := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
	all := slices.Concat(schemes.Get(ckmRSAPSS), schemes.Get(ckmRSA))
	b.fail("mechanisms", ckrFunctionFailed)
	if got := k.SignatureSchemes(); !slices.Equal(got, all) {
		t.Errorf("a token that does not answer: schemes %v, want all", got)
	}
	for _, k := range []*Key{k, closed} {
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// The module is finalized; the fake fails the test on any call.
	if got := closed.SignatureSchemes(); !slices.Equal(got, all) {
		t.Errorf("after Close: schemes %v, want all", got)
	}
}

func TestBadSignature(t *testing.T) {
	for _, sig := range [][]byte{nil, {}, {1}, {1, 2, 3}, make([]byte, 63)} {
		if der, err := derSignature(sig); err == nil {
			t.Errorf("signature of %d bytes: got %x, want an error", len(sig), der)
		}
	}
}

func TestSchemesMatchKeyType(t *testing.T) {
	for kind, want := range map[string]tls.SignatureScheme{"p384": tls.ECDSAWithP384AndSHA384, "ed25519": tls.Ed25519} {
		token := newFakeToken("hsm")
		token.addKey(signertest.Key(t, kind), "key", "\x01")
		k := newFixture(t, token).mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
		if got := k.SignatureSchemes(); !slices.Contains(got, want) {
			t.Errorf("%s: schemes %v", kind, got)
		}
	}
}
