//go:build linux && cgo

package interop

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"github.com/ThalesGroup/crypto11"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestCrypto11 has crypto11 make keys, as programs that were there before this
// one did, and use those that were made here. They take turns, since a module has
// one owner at a time.
func TestCrypto11(t *testing.T) {
	signertest.Require(t, "softhsm", "softhsm2-util")
	if !ownProcess(t) {
		return
	}
	tok := softHSM(t, "")
	const (
		theirRSA, theirEC = "rsa of crypto11", "p256 of crypto11"
		ourRSA, ourEC     = "rsa", "p256"
	)
	id := func(label string) []byte { return []byte("id of " + label) }

	theirs := tok.crypto11(t)
	if _, err := theirs.GenerateRSAKeyPairWithLabel(id(theirRSA), []byte(theirRSA), 2048); err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.GenerateECDSAKeyPairWithLabel(id(theirEC), []byte(theirEC), elliptic.P256()); err != nil {
		t.Fatal(err)
	}
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{theirRSA, theirEC} {
		for _, ref := range []keystore.Ref{tok.ref(label, ""), tok.ref("", string(id(label))), tok.ref(label, string(id(label)))} {
			s, err := backend.Open(t.Context(), ref, tok.options())
			if err != nil {
				t.Errorf("%v: %v", ref, err)
				continue
			}
			if err := signMessage(s, "message"); err != nil {
				t.Errorf("%v: %v", ref, err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("%v: %v", ref, err)
			}
		}
	}

	tok.generate(t, tok.ref(ourRSA, string(id(ourRSA))), keystore.RSA2048)
	tok.generate(t, tok.ref(ourEC, string(id(ourEC))), keystore.P256)
	theirs = tok.crypto11(t)
	for _, label := range []string{ourRSA, ourEC} {
		key, err := theirs.FindKeyPair(id(label), []byte(label))
		if err != nil || key == nil {
			t.Errorf("%s: crypto11 finds %v, error %v", label, key, err)
			continue
		}
		digest := sha256.Sum256([]byte("message"))
		sig, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err == nil {
			err = verify(key.Public(), digest[:], sig)
		}
		if err != nil {
			t.Errorf("%s: crypto11 signs: %v", label, err)
		}
		cert, err := theirs.FindCertificate(id(label), []byte(label), nil)
		if err != nil || cert == nil {
			t.Errorf("%s: crypto11 finds certificate %v, error %v", label, cert, err)
		}
	}
	if err := theirs.Close(); err != nil {
		t.Error(err)
	}
}

func (tok token) crypto11(t *testing.T) *crypto11.Context {
	t.Helper()
	ctx, err := crypto11.Configure(&crypto11.Config{Path: tok.uri.ModulePath, TokenLabel: tok.uri.Token, Pin: tok.pin})
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}
