package signer_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestProof(t *testing.T) {
	digest := sha256.Sum256([]byte("message"))
	for _, test := range []struct {
		kind string
		opts crypto.SignerOpts
	}{
		{"p256", crypto.SHA256},
		{"p384", crypto.SHA256},
		{"rsa2048", crypto.SHA256},
		{"rsa2048", &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}},
		{"ed25519", crypto.Hash(0)},
	} {
		key, other := signertest.Key(t, test.kind), signertest.NewKey(t, test.kind)
		m, err := signer.MechanismFor(key.Public(), digest[:], test.opts)
		if err != nil {
			t.Fatal(err)
		}
		sign := func(key crypto.Signer) []byte {
			sig, err := key.Sign(rand.Reader, digest[:], test.opts)
			if err != nil {
				t.Fatal(err)
			}
			return sig
		}
		right, wrong := sign(key), sign(other)
		var p signer.Proof
		for range 2 { // a refused signature proves nothing
			if err := p.Check(key.Public(), m, digest[:], wrong); !errors.Is(err, signer.ErrMismatch) {
				t.Errorf("%s: signature of another key: error %v, want signer.ErrMismatch", test.kind, err)
			}
		}
		if err := p.Check(key.Public(), m, digest[:], right); err != nil {
			t.Errorf("%s: %v", test.kind, err)
		}
		if err := p.Check(key.Public(), m, digest[:], nil); err != nil {
			t.Errorf("%s: a later signature is verified: %v", test.kind, err)
		}
	}
}
