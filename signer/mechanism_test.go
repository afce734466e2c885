package signer_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"log"
	"math/big"
	"testing"

	"filippo.io/mldsa"
	"filippo.io/mldsa/mldsacrypto"

	own "github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// rsaPublic returns an RSA public key of the given size, without a private key.
func rsaPublic(bits uint) *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), bits)
	return &rsa.PublicKey{N: n.Sub(n, big.NewInt(1)), E: 65537}
}

func TestMechanismFor(t *testing.T) {
	var (
		rsa2048 = rsaPublic(2048)
		p256    = signertest.Key(t, "p256").Public()
		p521    = signertest.Key(t, "p521").Public()
		ed      = signertest.Key(t, "ed25519").Public()
	)
	pss := func(salt int, hash crypto.Hash) crypto.SignerOpts {
		return &rsa.PSSOptions{SaltLength: salt, Hash: hash}
	}
	tests := []struct {
		name string
		pub  crypto.PublicKey
		size int // of the digest
		opts crypto.SignerOpts
		want signer.Mechanism
	}{
		{"PKCS1v15 SHA-224", rsa2048, 28, crypto.SHA224, signer.Mechanism{Padding: signer.PKCS1v15, Hash: crypto.SHA224}},
		{"PKCS1v15 SHA-256", rsa2048, 32, crypto.SHA256, signer.Mechanism{Padding: signer.PKCS1v15, Hash: crypto.SHA256}},
		{"PKCS1v15 SHA-384", rsa2048, 48, crypto.SHA384, signer.Mechanism{Padding: signer.PKCS1v15, Hash: crypto.SHA384}},
		{"PKCS1v15 SHA-512", rsa2048, 64, crypto.SHA512, signer.Mechanism{Padding: signer.PKCS1v15, Hash: crypto.SHA512}},
		{"PSS hash", rsa2048, 32, pss(rsa.PSSSaltLengthEqualsHash, crypto.SHA256), signer.Mechanism{Padding: signer.PSS, Hash: crypto.SHA256, SaltLen: 32}},
		{"PSS hash, SHA-384", rsa2048, 48, pss(rsa.PSSSaltLengthEqualsHash, crypto.SHA384), signer.Mechanism{Padding: signer.PSS, Hash: crypto.SHA384, SaltLen: 48}},
		{"PSS auto", rsa2048, 32, pss(rsa.PSSSaltLengthAuto, crypto.SHA256), signer.Mechanism{Padding: signer.PSS, Hash: crypto.SHA256, SaltLen: 222}},
		{"PSS auto, SHA-512", rsa2048, 64, pss(rsa.PSSSaltLengthAuto, crypto.SHA512), signer.Mechanism{Padding: signer.PSS, Hash: crypto.SHA512, SaltLen: 190}},
		// emBits is 2048, so that emLen is not one less than the modulus.
		{"PSS auto, 2049 bits", rsaPublic(2049), 32, pss(0, crypto.SHA256), signer.Mechanism{Padding: signer.PSS, Hash: crypto.SHA256, SaltLen: 222}},
		{"PSS auto, 2050 bits", rsaPublic(2050), 32, pss(0, crypto.SHA256), signer.Mechanism{Padding: signer.PSS, Hash: crypto.SHA256, SaltLen: 223}},
		{"PSS 20", rsa2048, 32, pss(20, crypto.SHA256), signer.Mechanism{Padding: signer.PSS, Hash: crypto.SHA256, SaltLen: 20}},
		{"PSS largest", rsa2048, 32, pss(222, crypto.SHA256), signer.Mechanism{Padding: signer.PSS, Hash: crypto.SHA256, SaltLen: 222}},
		{"PSS auto without room", rsaPublic(1024), 64, pss(0, crypto.SHA512), signer.Mechanism{Padding: signer.PSS, Hash: crypto.SHA512, SaltLen: 62}},
		{"ECDSA SHA-224", p256, 28, crypto.SHA224, signer.Mechanism{Hash: crypto.SHA224}},
		{"ECDSA SHA-256", p256, 32, crypto.SHA256, signer.Mechanism{Hash: crypto.SHA256}},
		{"ECDSA longer hash", p256, 64, crypto.SHA512, signer.Mechanism{Hash: crypto.SHA512}},
		{"ECDSA shorter hash", p521, 32, crypto.SHA256, signer.Mechanism{Hash: crypto.SHA256}},
		{"Ed25519", ed, 1000, crypto.Hash(0), signer.Mechanism{}},
		{"Ed25519 empty message", ed, 0, crypto.Hash(0), signer.Mechanism{}},
		{"Ed25519 options", ed, 5, &ed25519.Options{}, signer.Mechanism{}},
	}
	for _, test := range tests {
		got, err := signer.MechanismFor(test.pub, make([]byte, test.size), test.opts)
		if err != nil || got != test.want {
			t.Errorf("%s: %+v, error %v; want %+v", test.name, got, err, test.want)
		}
	}
}

func TestMechanismForRefuses(t *testing.T) {
	var (
		rsa2048 = rsaPublic(2048)
		p256    = signertest.Key(t, "p256").Public()
		ed      = signertest.Key(t, "ed25519").Public()
	)
	pss := func(salt int, hash crypto.Hash) crypto.SignerOpts {
		return &rsa.PSSOptions{SaltLength: salt, Hash: hash}
	}
	tests := []struct {
		name        string
		pub         crypto.PublicKey
		size        int
		opts        crypto.SignerOpts
		unsupported bool // want errors.ErrUnsupported
	}{
		{"nil options, RSA", rsa2048, 32, nil, false},
		{"nil options, ECDSA", p256, 32, nil, false},
		{"nil options, Ed25519", ed, 32, nil, false},
		{"nil PSS options, RSA", rsa2048, 32, (*rsa.PSSOptions)(nil), false},
		{"nil PSS options, ECDSA", p256, 32, (*rsa.PSSOptions)(nil), false},
		{"nil Ed25519 options", ed, 32, (*ed25519.Options)(nil), false},
		{"short digest, RSA", rsa2048, 31, crypto.SHA256, false},
		{"long digest, RSA", rsa2048, 33, crypto.SHA256, false},
		{"message, RSA", rsa2048, 500, crypto.SHA256, false},
		{"empty digest, RSA", rsa2048, 0, crypto.SHA256, false},
		{"digest of another hash, RSA", rsa2048, 64, crypto.SHA256, false},
		{"short digest, PSS", rsa2048, 31, pss(-1, crypto.SHA256), false},
		{"message, PSS", rsa2048, 500, pss(-1, crypto.SHA256), false},
		{"short digest, ECDSA", p256, 31, crypto.SHA256, false},
		{"long digest, ECDSA", p256, 33, crypto.SHA256, false},
		{"message, ECDSA", p256, 500, crypto.SHA256, false},
		{"no hash, RSA", rsa2048, 32, crypto.Hash(0), false},
		{"no hash, PSS", rsa2048, 32, pss(-1, 0), false},
		{"no hash, ECDSA", p256, 32, crypto.Hash(0), false},
		{"salt too long", rsa2048, 32, pss(223, crypto.SHA256), false},
		{"salt of the largest int", rsa2048, 32, pss(int(^uint(0)>>1), crypto.SHA256), false},
		{"unknown special salt", rsa2048, 32, pss(-2, crypto.SHA256), false},
		{"hash without room for its salt", rsaPublic(1024), 64, pss(rsa.PSSSaltLengthEqualsHash, crypto.SHA512), false},
		{"hash without room", rsaPublic(512), 64, pss(rsa.PSSSaltLengthAuto, crypto.SHA512), false},
		{"MD5, RSA", rsa2048, 16, crypto.MD5, true},
		{"SHA-1, RSA", rsa2048, 20, crypto.SHA1, true},
		{"MD5 and SHA-1, RSA", rsa2048, 36, crypto.MD5SHA1, true},
		{"SHA-1, PSS", rsa2048, 20, pss(-1, crypto.SHA1), true},
		{"SHA-1, ECDSA", p256, 20, crypto.SHA1, true},
		{"SHA-512/256", rsa2048, 32, crypto.SHA512_256, true},
		{"SHA3-256", p256, 32, crypto.SHA3_256, true},
		{"hash 99, RSA", rsa2048, 32, crypto.Hash(99), true},
		{"hash 99, PSS", rsa2048, 32, pss(-1, crypto.Hash(99)), true},
		{"hash 99, ECDSA", p256, 32, crypto.Hash(99), true},
		{"hash 99, Ed25519", ed, 32, crypto.Hash(99), true},
		{"Ed25519ph", ed, 64, &ed25519.Options{Hash: crypto.SHA512}, true},
		{"Ed25519 with a hash", ed, 64, crypto.SHA512, true},
		{"Ed25519ctx", ed, 5, &ed25519.Options{Context: "holdfast"}, true},
		{"nil key", nil, 32, crypto.SHA256, true},
		{"key by value", *rsa2048, 32, crypto.SHA256, true},
		{"unknown key type", "key", 32, crypto.SHA256, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, err := signer.MechanismFor(test.pub, make([]byte, test.size), test.opts)
			if err == nil || m != (signer.Mechanism{}) {
				t.Fatalf("%+v, error %v; want the zero Mechanism and an error", m, err)
			}
			if errors.Is(err, errors.ErrUnsupported) != test.unsupported {
				t.Errorf("error %v; errors.ErrUnsupported: want %t", err, test.unsupported)
			}
		})
	}
}

func TestPaddingString(t *testing.T) {
	seen := make(map[string]bool)
	for _, p := range []signer.Padding{signer.NoPadding, signer.PKCS1v15, signer.PSS, 99} {
		if s := p.String(); s == "" || seen[s] {
			t.Errorf("Padding(%d) prints as %q, which is empty or a duplicate", int(p), s)
		} else {
			seen[s] = true
		}
	}
}

// A backend decodes each request before it uses its device.
func ExampleMechanismFor() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	message := []byte("a message that is longer than its digest")
	digest := sha256.Sum256(message)

	m, err := signer.MechanismFor(key.Public(), digest[:], crypto.SHA256)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("padding:", m.Padding)
	fmt.Println("hash:", m.Hash)

	_, err = signer.MechanismFor(key.Public(), message, crypto.SHA256)
	fmt.Println("the message itself is refused:", err != nil)
	// Output:
	// padding: none
	// hash: SHA-256
	// the message itself is refused: true
}

func TestMechanismForMLDSA(t *testing.T) {
	for _, set := range []mldsa.Parameters{mldsa.MLDSA44(), mldsa.MLDSA65(), mldsa.MLDSA87()} {
		key, err := mldsa.GenerateKey(set)
		if err != nil {
			t.Fatal(err)
		}
		for _, pub := range []crypto.PublicKey{key.Public(), own.Of(key.Public())} {
			for _, opts := range []crypto.SignerOpts{crypto.Hash(0), &mldsa.Options{}, (*mldsa.Options)(nil), &ed25519.Options{}} {
				for _, size := range []int{0, 32, 64, 1000} {
					if m, err := signer.MechanismFor(pub, make([]byte, size), opts); err != nil || m != (signer.Mechanism{}) {
						t.Errorf("%v, %T, %#v: %+v, error %v", set, pub, opts, m, err)
					}
				}
			}
			hashed := set.String() + " signs the message, not a hash: pass the message and crypto.Hash(0)"
			context := set.String() + " with a context is not supported"
			none := "nil signature options: pass crypto.Hash(0)"
			for _, test := range []struct {
				opts        crypto.SignerOpts
				text        string
				unsupported bool
			}{
				{&mldsa.Options{Context: "x"}, context, true},
				{crypto.SHA256, hashed, true},
				{crypto.SHA512, hashed, true},
				{crypto.Hash(99), hashed, true},
				{mldsacrypto.MLDSAMu, hashed, true}, // the message representative is no message
				{&ed25519.Options{Context: "x"}, context, true},
				{&rsa.PSSOptions{Hash: crypto.SHA256}, hashed, true},
				{nil, none, false},
				{(*rsa.PSSOptions)(nil), none, false},
				{(*ed25519.Options)(nil), none, false},
			} {
				m, err := signer.MechanismFor(pub, make([]byte, 64), test.opts)
				if err == nil || err.Error() != test.text || errors.Is(err, errors.ErrUnsupported) != test.unsupported || m != (signer.Mechanism{}) {
					t.Errorf("%v, %T, %#v: %+v, error %v", set, pub, test.opts, m, err)
				}
			}
		}
	}
	for _, pub := range []crypto.PublicKey{(*mldsa.PublicKey)(nil), (*own.PublicKey)(nil)} {
		if _, err := signer.MechanismFor(pub, nil, crypto.Hash(0)); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%T of nil: error %v", pub, err)
		}
	}
}
