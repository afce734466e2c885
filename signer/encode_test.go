package signer_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"math/big"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestDigestInfo(t *testing.T) {
	key := signertest.Key(t, "rsa2048").(*rsa.PrivateKey)
	for _, hash := range []crypto.Hash{crypto.SHA224, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		h := hash.New()
		h.Write([]byte("message"))
		digest := h.Sum(nil)
		// With hash 0, crypto/rsa signs its input without a prefix.
		sig, err := rsa.SignPKCS1v15(rand.Reader, key, 0, append(signer.DigestInfo(hash), digest...))
		if err != nil {
			t.Fatal(err)
		}
		if err := rsa.VerifyPKCS1v15(&key.PublicKey, hash, digest, sig); err != nil {
			t.Errorf("%v: %v", hash, err)
		}
	}
	if info := signer.DigestInfo(crypto.SHA1); info != nil {
		t.Errorf("DigestInfo(SHA-1) is %x, want nil", info)
	}
}

func TestECDSASignature(t *testing.T) {
	for _, v := range [][]byte{nil, {0}, {0, 0, 1}, {0x7f}, {0x80}, {0, 0x80, 0}, bytes.Repeat([]byte{0xff}, 32), bytes.Repeat([]byte{1}, 48), bytes.Repeat([]byte{0xff}, 66)} {
		for _, w := range [][]byte{{1}, bytes.Repeat([]byte{0xff}, 66)} {
			want, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(v), new(big.Int).SetBytes(w)})
			if err != nil {
				t.Fatal(err)
			}
			if got := signer.ECDSASignature(v, w); !bytes.Equal(got, want) {
				t.Errorf("%x, %x: got %x, want %x", v, w, got, want)
			}
		}
	}
	long := make([]byte, 67)
	if got := signer.ECDSASignature(long, []byte{1}); got != nil {
		t.Errorf("r of 67 bytes: got %x, want nil", got)
	}
	if got := signer.ECDSASignature([]byte{1}, long); got != nil {
		t.Errorf("s of 67 bytes: got %x, want nil", got)
	}
}

func TestVerifies(t *testing.T) {
	digest := make([]byte, 32)
	_, _ = rand.Read(digest)
	type signature struct {
		key  string
		opts crypto.SignerOpts
	}
	pss := &rsa.PSSOptions{SaltLength: 20, Hash: crypto.SHA256}
	for _, s := range []signature{{"p256", crypto.SHA256}, {"ed25519", crypto.Hash(0)}, {"rsa2048", crypto.SHA256}, {"rsa2048", pss}} {
		key := signertest.Key(t, s.key)
		sig, err := key.Sign(rand.Reader, digest, s.opts)
		if err != nil {
			t.Fatal(err)
		}
		m, err := signer.MechanismFor(key.Public(), digest, s.opts)
		if err != nil {
			t.Fatal(err)
		}
		if !signer.Verifies(key.Public(), m, digest, sig) {
			t.Errorf("%s: does not verify", s.key)
		}
		other := bytes.Clone(digest)
		other[0] ^= 1
		if signer.Verifies(key.Public(), m, other, sig) {
			t.Errorf("%s: verifies for another digest", s.key)
		}
		if m.Padding == signer.PSS {
			m.SaltLen++
			if signer.Verifies(key.Public(), m, digest, sig) {
				t.Error("PSS verifies with another salt")
			}
			m.Padding = signer.PKCS1v15
			if signer.Verifies(key.Public(), m, digest, sig) {
				t.Error("PSS verifies as PKCS #1 v1.5")
			}
		}
	}
	if signer.Verifies(nil, signer.Mechanism{}, digest, nil) {
		t.Error("a signature verifies with a nil key")
	}
}
