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
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Config names a key. Exactly one of PEM and Handle must be set. The zero
// value of another field selects its default. Open does not modify the Config.
type Config struct {
	PEM    []byte // contents of a key file
	Handle Handle // handle of a persistent key

	// Device is the path of a TPM device, or of the socket of an emulator.
	// "" selects the TPM of the machine: /dev/tpmrm0, or else /dev/tpm0; on
	// Windows, TPM Base Services (TBS).
	Device string

	// PIN returns the password of the key. ParentPIN returns the password
	// of its parent, which is a persistent object or a hierarchy. nil means
	// that there is no password.
	PIN, ParentPIN keystore.PINFunc

	// EndorsementPIN returns the password of the endorsement hierarchy, which
	// only Attest and Activate use; nil: it has none.
	EndorsementPIN keystore.PINFunc

	// Certificates are certificates from outside PEM. The chain is built
	// from them and from the certificates in PEM.
	Certificates []*x509.Certificate

	Ref    keystore.Ref // name of the key in prompts and errors; zero: its handle, or "tpm:path=…"
	Logger *slog.Logger // nil: no log

	Now func() time.Time // decides which certificates are valid; nil: time.Now

	permit func(keystore.Prompt) error // see keystore.Options
}

func (c Config) now() time.Time { return keystore.Options{Now: c.Now}.Time() }

// A dialer opens a TPM. Tests replace it.
type dialer func(ctx context.Context, path string) (*device, error)

// A Key is a private key in a TPM. It implements [signer.ContextSigner],
// [signer.SchemeLimiter] and [signer.SaltLimiter], and is safe for concurrent use.
//
// After a reset of the TPM, the next signature loads the key again.
type Key struct {
	*loader
	object object
	ctx    context.Context // for password prompts after Open; canceled by Close
	cancel context.CancelFunc
	certs  signer.Certificates
	closed bool // guarded by loader.mu

	schemes func() []tls.SignatureScheme
}

// Open opens a key. The caller closes it. ctx is used until Open returns, which is at
// most 0.1 seconds after ctx ends; what the TPM is doing then is cleaned up in the
// background. Later password prompts, for example after the TPM refused a password,
// get a context with the values of ctx that is canceled by Close.
func Open(ctx context.Context, cfg Config) (*Key, error) { return open(ctx, cfg, dial) }

func open(ctx context.Context, cfg Config, dial dialer) (*Key, error) {
	return bounded(ctx, cfg.Device, func() (*Key, error) { return openNow(ctx, cfg, dial) }, func(k *Key) { _ = k.Close() })
}

// openNow is open, but waits for what the TPM is doing when ctx ends.
func openNow(ctx context.Context, cfg Config, dial dialer) (*Key, error) {
	ld, err := newLoader(ctx, cfg, dial)
	if err != nil {
		return nil, err
	}
	k := &Key{loader: ld}
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

// prepare loads the key. It returns an error if the key cannot sign.
func (k *Key) prepare(ctx context.Context) (err error) {
	if k.object, err = signingKey(k.area); err != nil {
		return err
	}
	certs, err := certificates(k.cfg.PEM)
	if err != nil {
		return err
	}
	k.certs, _ = signer.SelectCertificates(k.object.pub, slices.Concat(certs, k.cfg.Certificates), k.cfg.now()) // without a Chain on error: the key has no certificate
	err = k.use(ctx, func(*loadedObject) error { return nil })
	return k.explainLockout(ctx, err)
}

// Public implements [crypto.Signer].
func (k *Key) Public() crypto.PublicKey { return k.object.pub }

// Chain implements [signer.Signer]. The certificates come from Config.PEM and
// Config.Certificates.
func (k *Key) Chain() []*x509.Certificate { return k.certs.Chain }

// Certificates returns the certificates of Config.PEM and Config.Certificates.
func (k *Key) Certificates() signer.Certificates { return k.certs }

// Ref returns a reference that opens this key again. It contains the PIN
// sources, but no PIN. For a key in a file it is based on Config.Ref, and zero
// if that is zero.
func (k *Key) Ref() keystore.Ref { return k.cfg.reference() }

// Close implements [signer.Signer]. It flushes the key from the TPM and clears
// the password. It interrupts calls of Sign: a command that the TPM executes has 0.7
// seconds to complete, and can still be the signature. Any other Sign returns
// [signer.ErrClosed], one that waits for a password if Config.PIN respects its context.
//
// A TPM that does not answer keeps Close for at most 4 seconds. The key can then stay
// loaded in a TPM without a resource manager.
func (k *Key) Close() error {
	k.cancel()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	defer k.bindFlush()()
	k.wipe()
	return nil
}

// Sign implements [crypto.Signer]. It ignores the random source, because the
// TPM has its own. It waits at most 15 seconds for the response to a command.
func (k *Key) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.SignContext(context.Background(), rand, digest, opts)
}

// SignContext implements [signer.ContextSigner]. After ctx ends, a command that
// the TPM executes has 0.7 seconds to complete. Then the connection is given up,
// and the next signature loads the key again.
func (k *Key) SignContext(ctx context.Context, _ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	m, err := signer.MechanismFor(k.object.pub, digest, opts)
	if err != nil {
		return nil, err
	}
	op, err := k.object.operation(m, digest)
	if err != nil {
		return nil, err
	}
	both, cancel := k.until(ctx)
	defer cancel()
	if err := k.mu.LockContext(both); err != nil {
		if k.ctx.Err() != nil {
			return nil, signer.ErrClosed
		}
		return nil, signer.WithHint(fmt.Errorf("sign with %s: waited for another use of the key: %w", k.cfg.name(), err),
			"allow more time, or make fewer signatures at the same time: a TPM executes one command at a time")
	}
	defer k.mu.Unlock()
	if k.ctx.Err() != nil {
		return nil, signer.ErrClosed
	}
	k.bind(both)
	var sig []byte
	err = k.use(both, func(l *loadedObject) (err error) {
		sig, err = op(l)
		// With a resource manager, another program can have assigned the handle
		// to a different key since Open.
		if err == nil && k.file == nil && l.managed && !signer.Verifies(k.object.pub, m, digest, sig) {
			err = fmt.Errorf("the handle now belongs to a different key: %w", signer.ErrUnavailable)
		}
		return err
	})
	if err == nil {
		return sig, nil
	}
	if k.ctx.Err() != nil && errors.Is(err, k.ctx.Err()) {
		return nil, fmt.Errorf("sign: %w: %w", signer.ErrClosed, err)
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return nil, fmt.Errorf("sign with %s: %w", k.cfg.name(), k.explainLockout(both, err))
}

// until returns a context that has the values of the context of Open and ends
// with Close or ctx.
func (k *Key) until(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Done() == nil {
		return k.ctx, func() {}
	}
	both, cancel := context.WithCancelCause(k.ctx)
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	return both, func() { stop(); cancel(nil) }
}
