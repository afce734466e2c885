package signer_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Each way to sign ends after the shortest bound, with any kind of key.
func TestWithTimeout(t *testing.T) {
	ca := signertest.NewCA(t, "CA")
	key := signertest.Key(t, "p256")
	certs := []*x509.Certificate{ca.Issue(t, key, nil)}
	digest := make([]byte, 32)
	for name, wrap := range map[string]func(signer.Signer) signer.Signer{
		"no ContextSigner": func(s signer.Signer) signer.Signer { return s },
		"ContextSigner":    func(s signer.Signer) signer.Signer { return mute{s} },
		"of WithContext":   func(s signer.Signer) signer.Signer { return signer.WithContext(context.Background(), s) },
		"of WithTimeout":   func(s signer.Signer) signer.Signer { return signer.WithTimeout(context.Background(), s, time.Hour) },
		"of Bind": func(s signer.Signer) signer.Signer {
			return signer.WithCertificates(s, signer.Certificates{Chain: certs})
		},
		"with NeedsPerson":   func(s signer.Signer) signer.Signer { return struct{ mute }{mute{s}} },
		"in WithCertificate": func(s signer.Signer) signer.Signer { return signer.WithCertificates(mute{s}, signer.Certificates{}) },
	} {
		for by, sign := range map[string]func(context.Context, signer.Signer) ([]byte, error){
			"Sign": func(_ context.Context, s signer.Signer) ([]byte, error) {
				return s.Sign(rand.Reader, digest, crypto.SHA256)
			},
			"SignMessage": func(_ context.Context, s signer.Signer) ([]byte, error) {
				return crypto.SignMessage(s, rand.Reader, digest, crypto.SHA256)
			},
			"SignContext": func(ctx context.Context, s signer.Signer) ([]byte, error) {
				return signer.SignContext(ctx, s, rand.Reader, digest, crypto.SHA256)
			},
			"SignMessageContext": func(ctx context.Context, s signer.Signer) ([]byte, error) {
				return signer.SignMessage(ctx, s, rand.Reader, digest, crypto.SHA256)
			},
		} {
			t.Run(name+"/"+by, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					answer := make(chan struct{})
					defer synctest.Wait()
					defer close(answer)
					fake := &signertest.Fake{Key: key, Certificates: certs, OnSign: func(int) error { <-answer; return nil }}
					for _, test := range []struct{ timeout, outer, call, want time.Duration }{
						{time.Second, 0, 0, time.Second},
						{time.Minute, 2 * time.Second, 0, 2 * time.Second},
						{time.Minute, 0, 3 * time.Second, 3 * time.Second}, // only with a context of the call
						{time.Second, time.Minute, time.Minute, time.Second},
						{0, 0, 0, 0},
					} {
						ctx, call := t.Context(), t.Context()
						if test.outer > 0 {
							var cancel context.CancelFunc
							ctx, cancel = context.WithTimeout(ctx, test.outer)
							defer cancel()
						}
						if test.call > 0 {
							var cancel context.CancelFunc
							call, cancel = context.WithTimeout(call, test.call)
							defer cancel()
						}
						if by == "Sign" || by == "SignMessage" {
							if test.call > 0 {
								test.want = test.timeout
							}
						}
						begin := time.Now()
						signature, err := sign(call, signer.WithTimeout(ctx, wrap(fake), test.timeout))
						if signature != nil || !errors.Is(err, signer.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || signer.Hint(err) == "" {
							t.Errorf("%+v: signature %x, error %v, hint %q", test, signature, err, signer.Hint(err))
						}
						if took := time.Since(begin); took != test.want {
							t.Errorf("%+v: it took %v", test, took)
						}
					}
				})
			})
		}
	}
}

// The end of the context ends a signature with its cause, which is no fault of the
// device.
func TestWithTimeoutCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(stop) })
		s := signer.WithTimeout(ctx, mute{signer.FromKey(signertest.Key(t, "p256"))}, time.Minute)
		for range 2 { // the second time, it has ended before
			_, err := s.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
			if !errors.Is(err, stop) || errors.Is(err, signer.ErrUnavailable) {
				t.Errorf("error %v", err)
			}
		}
	})
}

// WithTimeout keeps what callers ask a Signer for, and does not close it.
func TestWithTimeoutForwards(t *testing.T) {
	key := signertest.Key(t, "p256")
	certs := []*x509.Certificate{signertest.NewCA(t, "CA").Issue(t, key, nil)}
	bound, err := signer.Bind(mute{signer.FromKey(key)}, certs, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := signer.WithTimeout(t.Context(), bound, time.Minute)
	if !signer.NeedsPerson(s) || len(s.Chain()) != 1 || len(signer.CertificatesOf(s).Chain) != 1 {
		t.Error("the wrapper hides what its key tells")
	}
	if _, ok := s.(signer.SchemeLimiter); ok {
		t.Error("a key without limits became a SchemeLimiter")
	}
	fake := &signertest.MessageFake{Fake: signertest.Fake{Key: key}}
	lim := signer.WithTimeout(t.Context(), limited{fake}, time.Minute)
	if _, ok := lim.(signer.SchemeLimiter); !ok {
		t.Error("a SchemeLimiter lost its limits")
	}
	if err := lim.Close(); err != nil || fake.Closes() != 0 {
		t.Errorf("Close: %v, and %d of the key", err, fake.Closes())
	}
}

// A late key looks at what it signs only when it may answer.
type late struct {
	signer.Signer
	begun, answer chan struct{}
	signed        chan []byte
}

func (l late) Sign(_ io.Reader, data []byte, _ crypto.SignerOpts) ([]byte, error) {
	close(l.begun)
	<-l.answer
	l.signed <- bytes.Clone(data)
	return nil, nil
}

type lateMessage struct{ late }

func (l lateMessage) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return l.Sign(rand, message, opts)
}

// A caller may use its buffers again when a call has returned, although the signature
// continues.
func TestBuffersAfterTheContext(t *testing.T) {
	for name, sign := range map[string]func(context.Context, late, []byte) ([]byte, error){
		"SignContext": func(ctx context.Context, s late, data []byte) ([]byte, error) {
			return signer.SignContext(ctx, s, rand.Reader, data, crypto.SHA256)
		},
		"SignMessage": func(ctx context.Context, s late, data []byte) ([]byte, error) {
			return signer.SignMessage(ctx, lateMessage{s}, rand.Reader, data, crypto.SHA256)
		},
	} {
		key := late{nil, make(chan struct{}), make(chan struct{}), make(chan []byte)}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-key.begun; cancel() }()
		data := make([]byte, 32)
		if _, err := sign(ctx, key, data); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		data[0] = 1
		close(key.answer)
		if got := <-key.signed; got[0] != 0 {
			t.Errorf("%s: the key signed %x", name, got)
		}
	}
}

// A context that has ended before reaches every wrapper: the device is not called.
func TestEndedContextInWrappers(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	digest := make([]byte, crypto.SHA256.Size())
	for name, wrap := range map[string]func(signer.Signer) signer.Signer{
		"WithTimeout": func(s signer.Signer) signer.Signer { return signer.WithTimeout(ended, s, time.Hour) },
		"WithContext": func(s signer.Signer) signer.Signer { return signer.WithContext(ended, s) },
		"WithTimeout of WithContext": func(s signer.Signer) signer.Signer {
			return signer.WithTimeout(t.Context(), signer.WithContext(ended, s), time.Hour)
		},
		"WithCertificates of another": func(s signer.Signer) signer.Signer {
			return signer.WithCertificates(signer.WithContext(ended, s), signer.Certificates{})
		},
	} {
		fake := &signertest.Fake{Key: signertest.Key(t, "p256")}
		s := wrap(fake)
		for method, sign := range map[string]func() ([]byte, error){
			"Sign":        func() ([]byte, error) { return s.Sign(rand.Reader, digest, crypto.SHA256) },
			"SignMessage": func() ([]byte, error) { return crypto.SignMessage(s, rand.Reader, digest, crypto.SHA256) },
			"SignContext": func() ([]byte, error) { return signer.SignContext(t.Context(), s, rand.Reader, digest, crypto.SHA256) },
			"SignMessageContext": func() ([]byte, error) {
				return signer.SignMessage(t.Context(), s, rand.Reader, digest, crypto.SHA256)
			},
		} {
			if _, err := sign(); !errors.Is(err, context.Canceled) || fake.Signs() != 0 {
				t.Errorf("%s, %s: error %v after %d signatures", name, method, err, fake.Signs())
			}
		}
	}
}
