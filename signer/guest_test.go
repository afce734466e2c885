package signer_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestHashByLength(t *testing.T) {
	hash := func(h crypto.Hash, p signer.Padding) signer.Mechanism { return signer.Mechanism{Hash: h, Padding: p} }
	for _, test := range []struct {
		kind string
		size int
		want signer.Mechanism // the hash 0: refused
	}{
		{"p256", 32, hash(crypto.SHA256, signer.NoPadding)},
		{"p256", 48, hash(crypto.SHA384, signer.NoPadding)},
		{"p256", 64, hash(crypto.SHA512, signer.NoPadding)},
		{"rsa2048", 32, hash(crypto.SHA256, signer.PKCS1v15)},
		{"rsa2048", 48, hash(crypto.SHA384, signer.PKCS1v15)},
		{"rsa2048", 64, hash(crypto.SHA512, signer.PKCS1v15)},
		{"p256", 0, signer.Mechanism{}},
		{"p256", 20, signer.Mechanism{}},
		{"p256", 28, signer.Mechanism{}},
		{"p256", 33, signer.Mechanism{}},
		{"rsa2048", 128, signer.Mechanism{}},
		{"ed25519", 32, signer.Mechanism{}},
		{"ed25519", 7, signer.Mechanism{}},
	} {
		// The plain key of the standard library would sign or panic.
		for name, key := range map[string]crypto.Signer{"key": signertest.Key(t, test.kind), "Signer": signer.FromKey(signertest.Key(t, test.kind))} {
			digest := make([]byte, test.size)
			sig, err := signer.HashByLength(key).Sign(rand.Reader, digest, nil)
			if refused := test.want.Hash == 0; (err != nil) != refused || !refused && !signer.Verifies(key.Public(), test.want, digest, sig) {
				t.Errorf("%s %s, %d bytes: error %v, or the signature is wrong", test.kind, name, test.size, err)
			}
		}
	}
}

func TestSaltByHash(t *testing.T) {
	key := signertest.Key(t, "rsa2048")
	s := signer.SaltByHash(signer.FromKey(key))
	for salt, want := range map[int]int{rsa.PSSSaltLengthAuto: 48, rsa.PSSSaltLengthEqualsHash: 48, 20: 20, 48: 48} {
		opts := &rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA384}
		for name, sign := range map[string]func() ([]byte, error){
			"Sign":        func() ([]byte, error) { return s.Sign(rand.Reader, make([]byte, 48), opts) },
			"SignMessage": func() ([]byte, error) { return crypto.SignMessage(s, rand.Reader, []byte("message"), opts) },
		} {
			digest := make([]byte, 48)
			if name == "SignMessage" {
				h := crypto.SHA384.New()
				h.Write([]byte("message"))
				digest = h.Sum(nil)
			}
			sig, err := sign()
			if err != nil || !signer.Verifies(key.Public(), signer.Mechanism{Padding: signer.PSS, Hash: crypto.SHA384, SaltLen: want}, digest, sig) {
				t.Errorf("%s with the salt %d: error %v, or the salt has not %d bytes", name, salt, err, want)
			}
		}
		if opts.SaltLength != salt {
			t.Error("the options of the caller were changed")
		}
	}
	sig, err := s.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
	if err != nil || !signer.Verifies(key.Public(), signer.Mechanism{Padding: signer.PKCS1v15, Hash: crypto.SHA256}, make([]byte, 32), sig) {
		t.Errorf("PKCS #1 v1.5: error %v, or the signature is wrong", err)
	}
}

// Each adapter leaves what the other one does alone, and passes messages on. Nil options
// of a message are an error with both.
func TestGuestAdapters(t *testing.T) {
	fake := &signertest.MessageFake{Fake: signertest.Fake{Key: signertest.Key(t, "rsa2048")}}
	for name, wrap := range map[string]func(crypto.Signer) crypto.Signer{
		"HashByLength": signer.HashByLength,
		"SaltByHash":   signer.SaltByHash,
		"both":         func(key crypto.Signer) crypto.Signer { return signer.HashByLength(signer.SaltByHash(key)) },
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := crypto.SignMessage(wrap(fake), rand.Reader, []byte("message"), crypto.SHA256); err != nil {
				t.Errorf("a key that takes only messages: %v", err)
			}
			key := wrap(signertest.Key(t, "rsa2048")).(crypto.MessageSigner)
			if _, err := key.SignMessage(rand.Reader, make([]byte, 32), nil); err == nil {
				t.Error("a message with nil options was signed")
			}
			var none *rsa.PSSOptions
			for _, opts := range []crypto.SignerOpts{none, crypto.MD4} { // the program does not contain MD4
				if _, err := key.SignMessage(rand.Reader, make([]byte, 16), opts); err == nil {
					t.Errorf("a message with the options %#v was signed", opts)
				}
			}
			if _, err := wrap(signer.FromKey(signertest.Key(t, "rsa2048"))).Sign(rand.Reader, make([]byte, 32), none); err == nil {
				t.Error("nil options of type *rsa.PSSOptions were accepted")
			}
		})
	}
}

// A Signer with a limit keeps it in the wrappers of this package.
func TestPSSSaltLengthsPassesWrappers(t *testing.T) {
	for name, wrap := range wrappers {
		if strings.HasPrefix(name, "limited") {
			continue // it is for another key
		}
		s := wrap(t, salted{&signertest.Fake{Key: signertest.Key(t, "rsa2048")}})
		want := []int{48}
		if name == "FromKey" || name == "WithCertificates of FromKey" {
			want = nil // it knows no more than a crypto.Signer
		}
		if got := signer.PSSSaltLengths(s, crypto.SHA384); !slices.Equal(got, want) {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
		for _, hash := range []crypto.Hash{0, crypto.SHA1, 1000} {
			if got := signer.PSSSaltLengths(s, hash); got != nil {
				t.Errorf("%s, %v: %d", name, hash, got)
			}
		}
	}
	signertest.Run(t, func(t *testing.T) signer.Signer {
		return salted{&signertest.Fake{Key: signertest.Key(t, "rsa2048")}}
	})
}

// salted is a key in a device whose salts are as long as the hash.
type salted struct{ *signertest.Fake }

func (salted) PSSSaltLengths(hash crypto.Hash) []int { return []int{hash.Size()} }

func (salted) SignatureSchemes() []tls.SignatureScheme {
	return []tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512}
}

func (s salted) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	m, err := signer.MechanismFor(s.Public(), digest, opts)
	if err == nil && (m.Padding != signer.PSS || m.SaltLen != m.Hash.Size()) {
		err = errors.ErrUnsupported
	}
	if err != nil {
		return nil, err
	}
	return s.Fake.Sign(rand, digest, opts)
}
