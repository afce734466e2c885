package winstore

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Key is a private key in a Windows key store. It is a [signer.Signer] and a
// [signer.SchemeLimiter], safe for concurrent use. It makes one signature at a
// time.
type Key struct {
	sys        system
	ref        keystore.Ref // opens the key again
	name       keystore.Ref // names the key in errors
	pub        crypto.PublicKey
	certs      signer.Certificates
	silentFlag uint32 // silent, or 0

	proof signer.Proof // that key is the private key of pub
	hung  atomic.Bool  // a call did not return before its context ended
	ended atomic.Bool  // Close was called: no signature begins any more

	mu     sync.Mutex // held during calls: a CryptoAPI context supports one thread at a time
	key    privateKey
	cert   certHandle // the context that may own key; nil: none
	closed bool

	// refused is the error of a signature without dialogs for which the
	// device has counted an incorrect PIN: the one that Windows remembers.
	// Another signature would send it again.
	refused error
}

// Open opens the key that cfg names. The caller closes it. Windows cannot be
// interrupted: if ctx ends first, Open returns an error, and closes the key in the
// background once Windows has responded.
func Open(ctx context.Context, cfg Config) (*Key, error) {
	sys, err := newSystem()
	if err != nil {
		return nil, err
	}
	return open(ctx, sys, cfg)
}

func open(ctx context.Context, sys system, cfg Config) (*Key, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return bounded(ctx, func() (*Key, error) { return openNow(sys, cfg) }, func(k *Key) { _ = k.free() })
}

// openNow is open, but waits for Windows without a limit.
func openNow(sys system, cfg Config) (*Key, error) {
	if cfg.Key != "" {
		return openByName(sys, cfg)
	}
	return openBySelector(sys, cfg)
}

func openBySelector(sys system, cfg Config) (*Key, error) {
	s, err := readStore(sys, cfg)
	if err != nil {
		return nil, err
	}
	k, err := s.open(cfg)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := s.close(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// open opens the key that cfg selects. The Key takes over the certificate handle
// from s.
func (s *certStore) open(cfg Config) (*Key, error) {
	chosen, err := s.choose(cfg)
	if err != nil {
		return nil, err
	}
	k := &Key{sys: s.sys, ref: chosen.Ref, name: cmp.Or(cfg.Ref, chosen.Ref), pub: chosen.Certificate.PublicKey, silentFlag: cfg.silentFlag(), cert: chosen.handle}
	if k.key, err = acquire(s.sys, chosen.handle, k.silentFlag); err != nil {
		return nil, fmt.Errorf("%s: %w", chosen.Ref, err)
	}
	k.certs = s.chain(chosen, cfg)
	s.detach(chosen.handle)
	return k, nil
}

// openByName opens a CNG key, with or without certificates in the store.
func openByName(sys system, cfg Config) (*Key, error) {
	h, err := openNamed(sys, cfg.provider(), cfg.Key, 0, cfg.machineFlag()|cfg.silentFlag())
	if err != nil {
		return nil, err
	}
	return newNamedKey(sys, cfg, h)
}

// newNamedKey returns a Key for h. It takes over h and frees it on error.
func newNamedKey(sys system, cfg Config, h keyHandle) (_ *Key, err error) {
	k := &Key{sys: sys, ref: cfg.ref(""), name: cmp.Or(cfg.Ref, cfg.ref("")), silentFlag: cfg.silentFlag(), key: privateKey{h, specNCrypt, true}}
	if k.pub, err = exportPublic(sys, h); err != nil {
		return nil, errors.Join(fmt.Errorf("key %q: %w", cfg.Key, err), sys.freeObject(h))
	}
	if k.certs, err = chainOfKey(sys, cfg, k.pub); err != nil {
		return nil, errors.Join(err, sys.freeObject(h))
	}
	if k.certs.Chain == nil {
		k.certs, _ = signer.SelectCertificates(k.pub, cfg.Certificates, cfg.now()) // without a Chain on error: the key needs no certificate
	}
	return k, nil
}

// Public implements [crypto.Signer].
func (k *Key) Public() crypto.PublicKey { return k.pub }

// Chain implements [signer.Signer]. The certificates are from the stores of
// Windows, or from Config.Certificates if the store has none for Config.Key.
func (k *Key) Chain() []*x509.Certificate { return k.certs.Chain }

// Certificates returns the certificates from the same places.
func (k *Key) Certificates() signer.Certificates { return k.certs }

// Ref returns a reference that opens this key again.
func (k *Key) Ref() keystore.Ref { return k.ref }

// Sign implements [crypto.Signer]. It does not use the random source. It verifies
// the first signature. If the verification fails, because the certificate is
// linked to another key, Sign fails with [signer.ErrMismatch]. After the device has
// counted an incorrect PIN, Sign fails until the key is opened again, unless Windows
// can ask for another PIN.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.signUnlessEnded(context.Background(), digest, opts)
}

// signUnlessEnded is Sign, but does not begin after the end of ctx.
func (k *Key) signUnlessEnded(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	m, err := signer.MechanismFor(k.pub, digest, opts)
	if err != nil {
		return nil, err
	}
	if k.ended.Load() { // a call that does not return may hold mu
		return nil, signer.ErrClosed
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.ended.Load():
		return nil, signer.ErrClosed
	case ctx.Err() != nil: // nobody waits any more
		return nil, context.Cause(ctx)
	}
	if k.refused != nil {
		return nil, fmt.Errorf("sign with %s: PIN not retried because the device refused it before: %w", k.name, k.refused)
	}
	sig, err := k.sign(m, digest)
	if k.silentFlag != 0 && errors.Is(err, signer.ErrTryCounted) {
		k.refused = err
	}
	if err == nil {
		err = signer.WithHint(k.proof.Check(k.pub, m, digest, sig), mismatchHint)
	}
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", k.name, err)
	}
	return sig, nil
}

// SignContext implements [signer.ContextSigner].
func (k *Key) SignContext(ctx context.Context, _ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	digest = bytes.Clone(digest) // the call may outlive ctx
	sig, inTime, err := await.InTime(ctx, func() ([]byte, error) { return k.signUnlessEnded(ctx, digest, opts) }, nil)
	if !inTime {
		k.hung.Store(true)
		err = fmt.Errorf("sign with %s: %w", k.name, muteError(err))
	}
	return sig, err
}

// NeedsPerson implements [signer.Attended]: only with Config.AllowUI does Windows
// show a dialog.
func (k *Key) NeedsPerson() bool { return k.silentFlag == 0 }

// SignatureSchemes implements [signer.SchemeLimiter]. CryptoAPI does not support
// PSS.
func (k *Key) SignatureSchemes() []tls.SignatureScheme { return schemesFor(k.pub, k.key.isCNG()) }

// Close implements [signer.Signer]. It waits at most 5 seconds for a signature in
// progress, and then returns an error. But if the context of a signature has ended
// before Windows responded, Close does not wait. In both cases the key is released in
// the background once Windows has responded. A Sign that waits for another one returns
// [signer.ErrClosed].
func (k *Key) Close() error {
	k.ended.Store(true)
	if k.hung.Load() {
		go func() { _ = k.free() }()
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastSignature)
	defer cancel()
	_, inTime, err := await.InTime(ctx, func() (struct{}, error) { return struct{}{}, k.free() }, nil)
	if !inTime {
		err = fmt.Errorf("close %s: %w; the key stays open until it does", k.name, muteError(err))
	}
	return err
}

func (k *Key) free() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	k.closed = true
	err := k.key.free(k.sys)
	if k.cert != nil {
		err = errors.Join(err, k.sys.freeCertificate(k.cert))
	}
	return err
}
