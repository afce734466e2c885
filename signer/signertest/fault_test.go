package signertest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
)

// broken is a Fake with some methods replaced by faulty ones.
type broken struct {
	*Fake
	sign   func(digest []byte, opts crypto.SignerOpts) ([]byte, error)
	close  func() error
	public func() crypto.PublicKey
	chain  func() []*x509.Certificate
}

func (b *broken) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if b.sign != nil {
		return b.sign(digest, opts)
	}
	return b.Fake.Sign(rand, digest, opts)
}

func (b *broken) Close() error {
	if b.close != nil {
		return b.close()
	}
	return b.Fake.Close()
}

func (b *broken) Public() crypto.PublicKey {
	if b.public != nil {
		return b.public()
	}
	return b.Fake.Public()
}

func (b *broken) Chain() []*x509.Certificate {
	if b.chain != nil {
		return b.chain()
	}
	return b.Fake.Chain()
}

type saltBroken struct {
	broken
	lengths []int
}

func (b *saltBroken) PSSSaltLengths(crypto.Hash) []int { return b.lengths }

type limitedBroken struct {
	broken
	schemes []tls.SignatureScheme
}

func (b *limitedBroken) SignatureSchemes() []tls.SignatureScheme { return b.schemes }

func TestRunFindsFaults(t *testing.T) {
	ca := NewCA(t, "root").Intermediate(t, "issuer")
	errBroken := errors.New("broken")
	tests := []struct {
		name, kind string
		open       func(f *Fake) signer.Signer
		checks     []string // checks that must detect the fault
	}{
		{"wrong signature", "p256", func(f *Fake) signer.Signer {
			return &broken{Fake: f, sign: func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				signature, err := f.Sign(rand.Reader, digest, opts)
				if err == nil {
					signature[len(signature)-1] ^= 1
				}
				return signature, err
			}}
		}, []string{"Sign", "Refuse", "Concurrent", "Close", "CloseWhileSigning", "CSR", "TLS12Server", "TLS12Client", "TLS13Server", "TLS13Client"}},
		{"truncated signature", "p256", func(f *Fake) signer.Signer {
			return &broken{Fake: f, sign: func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				signature, err := f.Sign(rand.Reader, digest, opts)
				return signature[:min(len(signature), 64)], err
			}}
		}, []string{"Sign"}},
		{"every fiftieth signature repeats the previous one", "p256", func(f *Fake) signer.Signer {
			var n atomic.Int32
			var last atomic.Value
			return &broken{Fake: f, sign: func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				signature, err := f.Sign(rand.Reader, digest, opts)
				if before := last.Swap(signature); err == nil && n.Add(1)%50 == 0 {
					return before.([]byte), nil
				}
				return signature, err
			}}
		}, []string{"Concurrent"}},
		{"signs every hash as SHA-256", "rsa2048", func(f *Fake) signer.Signer {
			return &broken{Fake: f, sign: func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				if opts != nil && opts.HashFunc() == crypto.SHA512 {
					digest, opts = digest[:32], crypto.SHA256
				}
				return f.Sign(rand.Reader, digest, opts)
			}}
		}, []string{"Sign", "Concurrent"}},
		{"PSS salt is always as long as the hash", "rsa2048", func(f *Fake) signer.Signer {
			return &broken{Fake: f, sign: func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				if o, ok := opts.(*rsa.PSSOptions); ok {
					opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: o.Hash}
				}
				return f.Sign(rand.Reader, digest, opts)
			}}
		}, []string{"Sign"}},
		{"makes signatures with salts that it does not list", "rsa2048", func(f *Fake) signer.Signer {
			return &saltBroken{broken{Fake: f}, []int{32}}
		}, []string{"Refuse"}},
		{"makes no signatures with a salt that it lists", "rsa2048", func(f *Fake) signer.Signer {
			return &saltBroken{broken{Fake: f, sign: func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				if o, ok := opts.(*rsa.PSSOptions); ok && o.SaltLength == 32 {
					return nil, errors.ErrUnsupported
				}
				return f.Sign(rand.Reader, digest, opts)
			}}, []int{20, 32}}
		}, []string{"Refuse"}},
		{"signs PSS requests with PKCS #1 v1.5", "rsa2048", func(f *Fake) signer.Signer {
			return &broken{Fake: f, sign: func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				if o, ok := opts.(*rsa.PSSOptions); ok {
					opts = o.Hash
				}
				return f.Sign(rand.Reader, digest, opts)
			}}
		}, []string{"Sign", "TLS12Server", "TLS13Server", "TLS13Client"}},
		{"accepts digests of any length", "p256", func(f *Fake) signer.Signer {
			return &broken{Fake: f, sign: func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				if opts == nil || opts.HashFunc() == 0 || f.Closes() > 0 {
					return nil, signer.ErrClosed
				}
				return f.Key.Sign(rand.Reader, digest, crypto.Hash(0))
			}}
		}, []string{"Refuse"}},
		{"accepts a missing hash", "p256", func(f *Fake) signer.Signer {
			return &broken{Fake: f, sign: func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				if opts != nil && opts.HashFunc() == 0 {
					opts = crypto.SHA256
				}
				return f.Sign(rand.Reader, digest, opts)
			}}
		}, []string{"Refuse"}},
		{"accepts nil options", "p256", func(f *Fake) signer.Signer {
			return &broken{Fake: f, sign: func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				if opts == nil {
					opts = crypto.SHA256
				}
				return f.Sign(rand.Reader, digest, opts)
			}}
		}, []string{"Refuse"}},
		{"Ed25519 ignores the hash", "ed25519", func(f *Fake) signer.Signer {
			return &broken{Fake: f, sign: func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				if opts != nil {
					opts = crypto.Hash(0)
				}
				return f.Sign(rand.Reader, digest, opts)
			}}
		}, []string{"Refuse"}},
		{"fails after a refusal", "p256", func(f *Fake) signer.Signer {
			var refused atomic.Bool
			return &broken{Fake: f, sign: func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				if refused.Load() {
					return nil, errBroken
				}
				signature, err := f.Sign(rand.Reader, digest, opts)
				refused.Store(err != nil)
				return signature, err
			}}
		}, []string{"Refuse"}},
		{"refuses PSS without ErrUnsupported", "rsa2048", func(f *Fake) signer.Signer {
			return &limitedBroken{broken{Fake: f, sign: func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				if _, ok := opts.(*rsa.PSSOptions); ok {
					return nil, errBroken
				}
				return f.Sign(rand.Reader, digest, opts)
			}}, []tls.SignatureScheme{tls.PKCS1WithSHA256}}
		}, []string{"Refuse"}},
		{"signs with PSS but does not list it", "rsa2048", func(f *Fake) signer.Signer {
			return &limitedBroken{broken{Fake: f}, []tls.SignatureScheme{tls.PKCS1WithSHA256}}
		}, []string{"Refuse"}},
		{"lists PSS but does not sign with it", "rsa2048", func(f *Fake) signer.Signer {
			return &limitedBroken{broken{Fake: f, sign: func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				if _, ok := opts.(*rsa.PSSOptions); ok {
					return nil, errors.ErrUnsupported
				}
				return f.Sign(rand.Reader, digest, opts)
			}}, []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PSSWithSHA256}}
		}, []string{"Sign", "TLS13Server", "TLS13Client"}},
		{"lists schemes of another key type", "p256", func(f *Fake) signer.Signer {
			return &limitedBroken{broken{Fake: f}, []tls.SignatureScheme{tls.PSSWithSHA256}}
		}, []string{"Sign", "TLS12Server"}},
		{"ignores Close", "p256", func(f *Fake) signer.Signer {
			return &broken{Fake: f, close: func() error { return nil }}
		}, []string{"Close", "CloseWhileSigning"}},
		{"second Close fails", "p256", func(f *Fake) signer.Signer {
			return &broken{Fake: f, close: func() error {
				if f.Closes() > 0 {
					return errBroken
				}
				return f.Close()
			}}
		}, []string{"Close"}},
		{"Close fails", "p256", func(f *Fake) signer.Signer {
			return &broken{Fake: f, close: func() error { return errors.Join(f.Close(), errBroken) }}
		}, []string{"Close", "CloseWhileSigning"}},
		{"another error after Close", "p256", func(f *Fake) signer.Signer {
			return &broken{Fake: f, sign: func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				signature, err := f.Sign(rand.Reader, digest, opts)
				if errors.Is(err, signer.ErrClosed) {
					err = errBroken
				}
				return signature, err
			}}
		}, []string{"Close", "CloseWhileSigning"}},
		{"no Public after Close", "p256", func(f *Fake) signer.Signer {
			return &broken{Fake: f, public: func() crypto.PublicKey {
				if f.Closes() > 0 {
					return nil
				}
				return f.Public()
			}}
		}, []string{"Close"}},
		{"no Chain after Close", "p256", func(f *Fake) signer.Signer {
			return &broken{Fake: f, chain: func() []*x509.Certificate {
				if f.Closes() > 0 {
					return nil
				}
				return f.Chain()
			}}
		}, []string{"Close"}},
		{"no public key", "p256", func(f *Fake) signer.Signer {
			return &broken{Fake: f, public: func() crypto.PublicKey { return nil }}
		}, []string{"Sign", "Refuse", "Concurrent", "Close", "CloseWhileSigning", "CSR", "TLS13Server"}},
		{"another public key", "p256", func(f *Fake) signer.Signer {
			other := NewKey(t, "p256").Public()
			return &broken{Fake: f, public: func() crypto.PublicKey { return other }}
		}, []string{"Sign", "Chain", "CSR"}},
		{"chain for another key", "p256", func(f *Fake) signer.Signer {
			return &Fake{Key: NewKey(t, "p256"), Certificates: f.Certificates}
		}, []string{"Chain", "TLS12Server", "TLS12Client", "TLS13Server", "TLS13Client"}},
		{"chain with the root", "p256", func(f *Fake) signer.Signer {
			f.Certificates = append(f.Certificates, ca.Root())
			return f
		}, []string{"Chain"}},
		{"chain in the wrong order", "p256", func(f *Fake) signer.Signer {
			slices.Reverse(f.Certificates)
			return f
		}, []string{"Chain"}},
		{"chain with a gap", "p256", func(f *Fake) signer.Signer {
			f.Certificates[0] = ca.Intermediate(t, "inner").Issue(t, f.Key, nil)
			return f
		}, []string{"Chain"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, name := range test.checks {
				i := slices.IndexFunc(checks, func(c check) bool { return c.name == name })
				if i < 0 {
					t.Fatalf("there is no check %s", name)
				}
				key := Key(t, test.kind)
				s := test.open(&Fake{Key: key, Certificates: []*x509.Certificate{ca.Issue(t, key, nil), ca.Cert}})
				if checks[i].run(t, s, digests) == nil {
					t.Errorf("check %s does not detect the fault", name)
				}
			}
		})
	}
}
