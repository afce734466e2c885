package tpm

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Config names a key. Exactly one of PEM and Handle is given; the zero value of
// any other field is its default. Open does not modify it.
type Config struct {
	PEM    []byte // what is in a key file
	Handle Handle // of a persistent key

	// Device is the path of a device or of an emulator's socket; "" is the
	// machine's own TPM: /dev/tpmrm0, or else /dev/tpm0; on Windows TPM
	// Base Services.
	Device string

	// PIN is asked for the key's password, and ParentPIN for that of its
	// parent, which is a persistent object or a hierarchy. nil: there is
	// none.
	PIN, ParentPIN keystore.PINFunc

	// Certificates are certificates from elsewhere, one of which may be the
	// key's: the chain is made of them and of those in PEM.
	Certificates []*x509.Certificate

	Ref    keystore.Ref // the key's name in prompts and errors; zero: its handle, or "tpm:path=…"
	Logger *slog.Logger // nil: discard
}

// dialer opens a TPM; tests have their own.
type dialer func(ctx context.Context, path string) (*device, error)

// A Key is a private key in a TPM. It is a [signer.Signer] and a
// [signer.SchemeLimiter], safe for concurrent use.
//
// After the TPM was reset the next signature loads the key again.
type Key struct {
	*loader
	object object
	ctx    context.Context // for passwords that are asked later; ends with Close
	cancel context.CancelFunc
	chain  []*x509.Certificate
	closed bool // guarded by resident.mu

	schemes func() []tls.SignatureScheme
}

// Open opens a key. The caller closes it. ctx is for opening; a password that
// is asked later, because the TPM refused the last one, is asked with ctx's
// values, and until the key is closed.
func Open(ctx context.Context, cfg Config) (*Key, error) { return open(ctx, cfg, dial) }

func open(ctx context.Context, cfg Config, dial dialer) (*Key, error) {
	r, err := newLoader(ctx, cfg, dial)
	if err != nil {
		return nil, err
	}
	k := &Key{loader: r}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.prepare(ctx); err != nil {
		k.wipe()
		return nil, err
	}
	k.ctx, k.cancel = context.WithCancel(context.WithoutCancel(ctx))
	k.schemes = sync.OnceValue(k.findSchemes)
	return k, nil
}

// prepare refuses what cannot sign, and loads the key.
func (k *Key) prepare(ctx context.Context) (err error) {
	if k.object, err = signingKey(k.area); err != nil {
		return err
	}
	certs, err := certificates(k.cfg.PEM)
	if err != nil {
		return err
	}
	k.chain, err = signer.Chain(k.object.pub, slices.Concat(certs, k.cfg.Certificates))
	if err != nil && len(certs) > 0 { // otherwise it is a key without a certificate
		return err
	}
	err = k.use(ctx, func(*loadedObject) error { return nil })
	return k.explainLockout(ctx, err)
}

// Public implements [crypto.Signer].
func (k *Key) Public() crypto.PublicKey { return k.object.pub }

// Chain implements [signer.Signer] with the certificates in the key's file and
// those of the Config.
func (k *Key) Chain() []*x509.Certificate { return k.chain }

// Ref returns a reference that opens this key again. It has no PIN, but its
// sources. That of a key in a file is [Config.Ref], and zero without that.
func (k *Key) Ref() keystore.Ref { return k.cfg.reference() }

// Close implements [signer.Signer]. Nothing is left in the TPM, and the
// password is cleared. A Sign that asks for a password ends with
// [signer.ErrClosed] if Config.PIN heeds its context.
func (k *Key) Close() error {
	k.cancel()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.wipe()
	return nil
}

// Sign implements [crypto.Signer]. The random source is not used: the TPM has
// its own.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	m, err := signer.MechanismFor(k.object.pub, digest, opts)
	if err != nil {
		return nil, err
	}
	op, err := k.object.operation(m, digest)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, signer.ErrClosed
	}
	var sig []byte
	err = k.use(k.ctx, func(l *loadedObject) (err error) {
		sig, err = op(l)
		// Under a resource manager another program can have given the handle
		// to another key, which signs as well.
		if err == nil && k.file == nil && l.managed && !signer.Verifies(k.object.pub, m, digest, sig) {
			err = fmt.Errorf("another key is in its place: %w", signer.ErrUnavailable)
		}
		return err
	})
	if err == nil {
		return sig, nil
	}
	if k.ctx.Err() != nil && errors.Is(err, k.ctx.Err()) {
		return nil, fmt.Errorf("sign: %w: %w", signer.ErrClosed, err)
	}
	return nil, fmt.Errorf("sign with %s: %w", k.cfg.name(), k.explainLockout(k.ctx, err))
}
