package blob

import (
	"bytes"
	"crypto"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Each type of key that exists has a decision.
func TestAlgorithms(t *testing.T) {
	for kind, want := range map[string]crypto.Hash{
		"rsa2048": crypto.SHA256, "rsa3072": crypto.SHA256, "rsa4096": crypto.SHA256,
		"p256": crypto.SHA256, "p384": crypto.SHA384, "p521": crypto.SHA512, "ed25519": 0,
	} {
		if hash, err := hashFor(signertest.Key(t, kind).Public()); hash != want || err != nil {
			t.Errorf("%s: %v, %v", kind, hash, err)
		}
	}
	for _, pub := range []crypto.PublicKey{nil, "no key"} {
		if _, err := hashFor(pub); err == nil || signer.Hint(err) == "" {
			t.Errorf("%v: error %v", pub, err)
		}
	}
}

// A messageKey signs messages only, like a key of an ssh-agent.
type messageKey struct{ signer.Signer }

func (messageKey) SignsMessagesOnly() bool { return true }

func (messageKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

func (k messageKey) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return crypto.SignMessage(k.Signer, rand, message, opts)
}

// A liar signs something else.
type liar struct{ signer.Signer }

func (l liar) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	digest = bytes.Clone(digest)
	digest[0] ^= 1
	return l.Signer.Sign(rand, digest, opts)
}

func TestSignatureIsVerified(t *testing.T) {
	text := "the program\n"
	for _, kind := range signertest.KeyKinds() {
		key := signer.FromKey(signertest.Key(t, kind))
		if _, err := sign(t.Context(), liar{key}, "the key", content{name: "app", r: strings.NewReader(text)}); !errors.Is(err, signer.ErrMismatch) {
			t.Errorf("%s: error %v", kind, err)
		}
		made, err := sign(t.Context(), messageKey{key}, "the key", content{name: "app", r: strings.NewReader(text)})
		if err != nil {
			t.Fatalf("%s, messages only: %v", kind, err)
		}
		hash, _ := hashFor(key.Public())
		what, err := content{name: "app", r: strings.NewReader(text)}.read(t.Context(), hash, false)
		if hash == 0 {
			what.digest = []byte(text)
		}
		if m, _ := signer.MechanismFor(key.Public(), what.digest, hash); err != nil || !signer.Verifies(key.Public(), m, what.digest, made.raw) {
			t.Errorf("%s, messages only: the signature does not verify; error %v", kind, err)
		}
	}
	key := signer.FromKey(signertest.Key(t, "p256"))
	long := io.MultiReader(bytes.NewReader(make([]byte, maxMessage)), strings.NewReader("x"))
	if _, err := sign(t.Context(), messageKey{key}, "the key", content{name: "app", r: long}); !errors.Is(err, errTooLong) {
		t.Errorf("messages only, a long one: %v", err)
	}
}
