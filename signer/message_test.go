package signer_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// wrappers are the Signers of this package that pass requests on to another one.
var wrappers = map[string]func(t *testing.T, s signer.Signer) signer.Signer{
	"none": func(_ *testing.T, s signer.Signer) signer.Signer { return s },
	"Bind": func(t *testing.T, s signer.Signer) signer.Signer {
		bound, err := signer.Bind(s, []*x509.Certificate{signertest.NewCA(t, "CA").Issue(t, s, nil)}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return bound
	},
	"WithCertificates": func(_ *testing.T, s signer.Signer) signer.Signer {
		return signer.WithCertificates(s, signer.Certificates{})
	},
	"WithContext": func(t *testing.T, s signer.Signer) signer.Signer { return signer.WithContext(t.Context(), s) },
	"WithContext of WithCertificates": func(t *testing.T, s signer.Signer) signer.Signer {
		return signer.WithContext(t.Context(), signer.WithCertificates(s, signer.Certificates{}))
	},
	"limited WithContext of WithCertificates": func(t *testing.T, s signer.Signer) signer.Signer {
		return signer.WithContext(t.Context(), signer.WithCertificates(limited{s.(*signertest.MessageFake)}, signer.Certificates{}))
	},
	"WithTimeout": func(t *testing.T, s signer.Signer) signer.Signer {
		return signer.WithTimeout(t.Context(), s, time.Hour)
	},
	"limited WithTimeout of WithCertificates": func(t *testing.T, s signer.Signer) signer.Signer {
		return signer.WithTimeout(t.Context(), signer.WithCertificates(limited{s.(*signertest.MessageFake)}, signer.Certificates{}), time.Hour)
	},
	"FromKey": func(_ *testing.T, s signer.Signer) signer.Signer { return signer.FromKey(s) },
	"WithCertificates of FromKey": func(_ *testing.T, s signer.Signer) signer.Signer {
		return signer.WithCertificates(signer.FromKey(s), signer.Certificates{})
	},
}

type limited struct{ *signertest.MessageFake }

func (limited) SignatureSchemes() []tls.SignatureScheme { return nil }

// A key that takes no digests gets the message through every wrapper.
func TestMessagePassesWrappers(t *testing.T) {
	pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	for _, test := range []struct {
		kind string
		opts []crypto.SignerOpts
	}{
		{"rsa2048", []crypto.SignerOpts{crypto.SHA256, crypto.SHA512, pss}},
		{"p256", []crypto.SignerOpts{crypto.SHA256}},
		{"ed25519", []crypto.SignerOpts{crypto.Hash(0)}},
	} {
		for name, wrap := range wrappers {
			t.Run(test.kind+" "+name, func(t *testing.T) {
				fake := &signertest.MessageFake{Fake: signertest.Fake{Key: signertest.Key(t, test.kind)}}
				s := wrap(t, fake)
				message := []byte("message")
				for _, opts := range test.opts {
					digest := message
					if hash := opts.HashFunc(); hash != 0 {
						h := hash.New()
						h.Write(message)
						digest = h.Sum(nil)
					}
					m, err := signer.MechanismFor(s.Public(), digest, opts)
					if err != nil {
						t.Fatal(err)
					}
					for by, sign := range map[string]func() ([]byte, error){
						"crypto.SignMessage":                 func() ([]byte, error) { return crypto.SignMessage(s, rand.Reader, message, opts) },
						"signer.SignMessage":                 func() ([]byte, error) { return signer.SignMessage(context.Background(), s, rand.Reader, message, opts) },
						"signer.SignMessage with a deadline": func() ([]byte, error) { return signer.SignMessage(t.Context(), s, rand.Reader, message, opts) },
						"SignMessage of another wrapper": func() ([]byte, error) {
							return crypto.SignMessage(signer.WithContext(t.Context(), s), rand.Reader, message, opts)
						},
						"SignMessageContext of another wrapper": func() ([]byte, error) {
							return signer.SignMessage(t.Context(), signer.WithContext(t.Context(), s), rand.Reader, message, opts)
						},
					} {
						if sig, err := sign(); err != nil || !signer.Verifies(s.Public(), m, digest, sig) {
							t.Errorf("%s, %v: signature of %d bytes, error %v", by, opts, len(sig), err)
						}
					}
					for by, sign := range map[string]func() ([]byte, error){
						"Sign":        func() ([]byte, error) { return s.Sign(rand.Reader, digest, opts) },
						"SignContext": func() ([]byte, error) { return signer.SignContext(t.Context(), s, rand.Reader, digest, opts) },
					} {
						if _, err := sign(); !errors.Is(err, errors.ErrUnsupported) {
							t.Errorf("%s, %v: error %v", by, opts, err)
						}
					}
				}
				before := fake.Signs()
				if _, err := signer.SignMessage(t.Context(), s, rand.Reader, message, nil); err == nil || fake.Signs() != before {
					t.Errorf("nil options: error %v", err)
				}
				if _, err := s.(crypto.MessageSigner).SignMessage(rand.Reader, message, nil); err == nil || fake.Signs() != before {
					t.Errorf("SignMessage with nil options: error %v", err)
				}
				if err := signer.Prove(t.Context(), s, s.Public()); err != nil {
					t.Errorf("Prove: %v", err)
				}
				template := &x509.CertificateRequest{DNSNames: []string{"client.example"}}
				if _, err := x509.CreateCertificateRequest(rand.Reader, template, s); err != nil {
					t.Errorf("a certificate request: %v", err)
				}
			})
		}
	}
}

// A key that takes digests gets the hash of the message, and none that is too long
// for its context.
func TestMessageOfDigestKey(t *testing.T) {
	fake := &signertest.Fake{Key: signertest.Key(t, "p256")}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := signer.SignMessage(ended, fake, rand.Reader, []byte("message"), crypto.SHA256); !errors.Is(err, context.Canceled) || fake.Signs() != 0 {
		t.Errorf("after the end: error %v, %d signatures", err, fake.Signs())
	}
	for _, opts := range []crypto.SignerOpts{nil, (*rsa.PSSOptions)(nil), (*ed25519.Options)(nil), crypto.Hash(0), crypto.MD5, crypto.Hash(200)} {
		for _, s := range []signer.Signer{fake, signer.FromKey(fake), signer.WithContext(t.Context(), fake)} {
			if _, err := signer.SignMessage(t.Context(), s, rand.Reader, make([]byte, 32), opts); err == nil {
				t.Errorf("options %v are accepted", opts)
			}
		}
	}
}

// A stopping key implements SignMessageContext itself.
type stopping struct{ *signertest.MessageFake }

var errStopped = errors.New("the agent was told to stop")

func (stopping) SignMessageContext(ctx context.Context, _ io.Reader, _ []byte, _ crypto.SignerOpts) ([]byte, error) {
	<-ctx.Done()
	return nil, errors.Join(errStopped, context.Cause(ctx))
}

// A deadline ends a SignMessage that hangs.
func TestMessageDeadline(t *testing.T) {
	for name, wrap := range wrappers {
		if slices.Contains([]string{"FromKey", "WithCertificates of FromKey"}, name) {
			continue // signatures in memory are not interrupted
		}
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			fake := &signertest.MessageFake{Fake: signertest.Fake{Key: signertest.Key(t, "p256"), OnSign: func(int) error {
				<-release
				return nil
			}}}
			defer close(release)
			s := wrap(t, fake)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for by, key := range map[string]signer.Signer{"SignMessage": s, "WithContext": signer.WithContext(ctx, s)} {
				_, err := signer.SignMessage(ctx, key, rand.Reader, []byte("message"), crypto.SHA256)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s, %s: error %v", name, by, err)
				}
			}
			if fake.Signs() != 1 { // none begins after the deadline
				t.Errorf("%s: %d signatures were begun", name, fake.Signs())
			}
			other, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := crypto.SignMessage(signer.WithContext(other, s), rand.Reader, []byte("message"), crypto.SHA256); !errors.Is(err, signer.ErrUnavailable) {
				t.Errorf("%s: SignMessage: error %v", name, err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	fake := &signertest.MessageFake{Fake: signertest.Fake{Key: signertest.Key(t, "p256")}}
	for _, s := range []signer.Signer{stopping{fake}, signer.WithCertificates(stopping{fake}, signer.Certificates{}), signer.WithContext(t.Context(), stopping{fake})} {
		if _, err := signer.SignMessage(ctx, s, rand.Reader, nil, crypto.SHA256); !errors.Is(err, errStopped) {
			t.Errorf("%T: error %v", s, err)
		}
	}
}

// A credulous key signs whatever it gets.
type credulous struct{ *signertest.Fake }

func (credulous) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return []byte{1}, nil }

// A message is never passed on as if it were its digest, whatever the length.
func TestMessageWithUnknownHash(t *testing.T) {
	key := credulous{&signertest.Fake{Key: signertest.Key(t, "p256")}}
	for name, wrap := range wrappers {
		if strings.HasPrefix(name, "limited") {
			continue // it is for another key
		}
		sig, err := signer.SignMessage(t.Context(), wrap(t, key), rand.Reader, make([]byte, crypto.MD4.Size()), crypto.MD4)
		if sig != nil || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: signature %x, error %v, want errors.ErrUnsupported", name, sig, err)
		}
	}
}

// A whole signs only whole messages.
type whole struct{ signer.Signer }

func (whole) SignsMessagesOnly() bool { return true }

// TestSignsMessagesOnly: wrappers tell what their key tells.
func TestSignsMessagesOnly(t *testing.T) {
	key := signer.FromKey(signertest.Key(t, "p256"))
	for name, wrap := range map[string]func(signer.Signer) signer.Signer{
		"itself":           func(s signer.Signer) signer.Signer { return s },
		"WithCertificates": func(s signer.Signer) signer.Signer { return signer.WithCertificates(s, signer.Certificates{}) },
		"WithContext":      func(s signer.Signer) signer.Signer { return signer.WithContext(t.Context(), s) },
		"WithTimeout":      func(s signer.Signer) signer.Signer { return signer.WithTimeout(t.Context(), s, time.Minute) },
	} {
		if signer.SignsMessagesOnly(wrap(key)) || !signer.SignsMessagesOnly(wrap(whole{key})) {
			t.Errorf("%s hides whether the key signs only messages", name)
		}
	}
}
