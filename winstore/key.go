package winstore

import (
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Key is a private key that Windows keeps. It is a [signer.Signer] and a
// [signer.SchemeLimiter], safe for concurrent use. Signatures are made one
// after the other.
type Key struct {
	sys   system
	ref   keystore.Ref // opens it
	name  keystore.Ref // in errors
	pub   crypto.PublicKey
	chain []*x509.Certificate
	quiet uint32 // silent, or 0

	mu      sync.Mutex // held while Windows is asked: a context of CryptoAPI serves one thread at a time
	key     privateKey
	cert    certHandle // key may belong to it; nil: none
	shut    bool
	trusted bool // a signature of key was found to be pub's
}

// Open opens the one key that cfg names. The caller closes it. ctx is looked at
// once, since Windows cannot be interrupted.
func Open(ctx context.Context, cfg Config) (*Key, error) {
	sys, err := newSystem()
	if err != nil {
		return nil, err
	}
	return open(ctx, sys, cfg)
}

func open(ctx context.Context, sys system, cfg Config) (*Key, error) {
	if err := errors.Join(ctx.Err(), cfg.check()); err != nil {
		return nil, err
	}
	if cfg.Key != "" {
		return openByName(sys, cfg)
	}
	return openBySelector(sys, cfg)
}

func openBySelector(sys system, cfg Config) (*Key, error) {
	f, err := find(sys, cfg)
	if err != nil {
		return nil, err
	}
	k, err := f.open(cfg)
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	if err := f.close(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// open takes the certificate of the key out of f.
func (f *found) open(cfg Config) (*Key, error) {
	chosen, err := f.choose(cfg)
	if err != nil {
		return nil, err
	}
	k := &Key{sys: f.sys, ref: chosen.Ref, name: cmp.Or(cfg.Ref, chosen.Ref), pub: chosen.Certificate.PublicKey, quiet: cfg.silence(), cert: chosen.handle}
	if k.key, err = acquire(f.sys, chosen.handle, k.quiet); err != nil {
		return nil, fmt.Errorf("%s: %w", chosen.Ref, err)
	}
	k.chain = f.chain(chosen, cfg)
	f.release(chosen.handle)
	return k, nil
}

// openByName opens a CNG key, which may have certificates in the store or not.
func openByName(sys system, cfg Config) (*Key, error) {
	h, err := openNamed(sys, cfg.provider(), cfg.Key, 0, cfg.scope()|cfg.silence())
	if err != nil {
		return nil, err
	}
	return newNamedKey(sys, cfg, h)
}

// newNamedKey owns h.
func newNamedKey(sys system, cfg Config, h keyHandle) (_ *Key, err error) {
	k := &Key{sys: sys, ref: cfg.ref(""), name: cmp.Or(cfg.Ref, cfg.ref("")), quiet: cfg.silence(), key: privateKey{h, specNCrypt, true}}
	if k.pub, err = exportPublic(sys, h); err != nil {
		return nil, errors.Join(fmt.Errorf("key %q: %w", cfg.Key, err), sys.freeObject(h))
	}
	if k.chain, err = chainOfKey(sys, cfg, k.pub); err != nil {
		return nil, errors.Join(err, sys.freeObject(h))
	}
	if k.chain == nil { // a key without a certificate is a key all the same
		k.chain, _ = signer.Chain(k.pub, cfg.Certificates)
	}
	return k, nil
}

// Public implements [crypto.Signer].
func (k *Key) Public() crypto.PublicKey { return k.pub }

// Chain implements [signer.Signer]: the certificate in the store and its
// issuers, as far as Windows knows them.
func (k *Key) Chain() []*x509.Certificate { return k.chain }

// Ref returns a reference that opens this key again.
func (k *Key) Ref() keystore.Ref { return k.ref }

// Sign implements [crypto.Signer]. The random source is not used. The first
// signature is verified: if it is not the public key's, because the
// certificate is linked with another key, Sign fails with [signer.ErrMismatch].
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	m, err := signer.MechanismFor(k.pub, digest, opts)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.shut {
		return nil, signer.ErrClosed
	}
	sig, err := k.sign(m, digest)
	if err == nil && !k.trusted {
		err = verify(k.pub, m, digest, sig)
	}
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", k.name, err)
	}
	k.trusted = true
	return sig, nil
}

// SignatureSchemes implements [signer.SchemeLimiter]: CryptoAPI has no PSS.
func (k *Key) SignatureSchemes() []tls.SignatureScheme { return schemesFor(k.pub, k.key.isCNG()) }

// Close implements [signer.Signer].
func (k *Key) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.shut {
		return nil
	}
	k.shut = true
	err := k.key.free(k.sys)
	if k.cert != nil {
		err = errors.Join(err, k.sys.freeCertificate(k.cert))
	}
	return err
}
