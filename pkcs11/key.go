package pkcs11

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Key is a private key on a token. It is a [signer.Signer] and a
// [signer.SchemeLimiter], safe for concurrent use.
//
// After the token was removed, reset or logged out, the next signature finds
// it again, in whatever slot it is, and goes on if it is the same key.
type Key struct {
	cfg    Config
	ctx    context.Context // for PINs that are asked later; ends with Close
	cancel context.CancelFunc
	auth   *authenticator
	log    *slog.Logger
	mod    *sharedModule
	pub    crypto.PublicKey
	chain  []*x509.Certificate

	schemes func() []tls.SignatureScheme

	closeMu sync.RWMutex // held for reading while the module is asked; by Close for writing
	closed  bool

	reconnectMu sync.Mutex // held while reconnecting, so that one does
	conn        atomic.Pointer[connection]
}

// A connection is a key's handle and sessions, from login to loss.
type connection struct {
	token        token
	key          keyObject
	pool         *pool
	firstSession uint // the session that pool began with
	card         bool // in a reader: signatures wait for those of the module's other cards
}

// maxAttempts bounds what one signature takes of a token that is lost again and
// again, or of a device that always fails.
const maxAttempts = 10

// Open opens the one key that cfg names. The caller closes it. ctx is for
// opening; a PIN that is asked later, when the token comes back, is asked with
// ctx's values, and until the key is closed.
func Open(ctx context.Context, cfg Config) (*Key, error) { return open(ctx, cfg, &loaded) }

func open(ctx context.Context, cfg Config, table *modules) (*Key, error) {
	if cfg.PIN == nil {
		var err error
		if cfg.PIN, err = pinOf(cfg.URI, keystore.Call{}); err != nil {
			return nil, err
		}
	}
	mod, err := table.find(cfg)
	if err != nil {
		return nil, err
	}
	k := &Key{cfg: cfg, auth: newAuthenticator(cfg), log: logging.OrDiscard(cfg.Logger), mod: mod}
	d := k.auth.begin()
	defer d.end()
	conn, certs, err := k.connect(ctx, cfg.URI, d)
	if err != nil {
		return nil, errors.Join(err, mod.release())
	}
	k.ctx, k.cancel = context.WithCancel(context.WithoutCancel(ctx))
	k.conn.Store(conn)
	k.pub = conn.key.pub
	// A key without a certificate is a key all the same.
	if k.chain, err = signer.Chain(k.pub, certs); err != nil {
		k.chain = nil
	}
	k.schemes = sync.OnceValue(k.findSchemes)
	return k, nil
}

func openModule(cfg Config) (*sharedModule, error) { return loaded.find(cfg) }

// find returns the module that cfg names for one more user.
func (m *modules) find(cfg Config) (*sharedModule, error) {
	if err := supported(); err != nil { // before a person is sent to look for modules
		return nil, err
	}
	u := cfg.URI
	if cfg.Module != "" {
		u.ModulePath = cfg.Module
	}
	path, err := modulePath(u)
	if err != nil {
		return nil, err
	}
	return m.open(path)
}

func newAuthenticator(cfg Config) *authenticator {
	return &authenticator{ask: cfg.PIN, ref: cfg.name()}
}

// connect finds the token of u, logs in and finds the key.
func (k *Key) connect(ctx context.Context, u URI, d *dialog) (_ *connection, _ []*x509.Certificate, err error) {
	// OpenSC 0.23 crashes if one thread finds that a card was pulled while
	// another signs with it, be it by another key.
	k.mod.cardMu.Lock()
	defer k.mod.cardMu.Unlock()
	t, err := oneToken(k.mod, u)
	if err != nil {
		return nil, nil, err
	}
	session, err := k.mod.openSession(t.slot, false)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = k.mod.closeSession(session)
		}
	}()
	if err := d.login(ctx, t, session); err != nil {
		return nil, nil, err
	}
	key, certs, err := findKey(t, session, u, k.cfg.Certificates)
	if err != nil {
		return nil, nil, err
	}
	limit, card, err := k.maxSessions(t, key)
	if err != nil {
		return nil, nil, err
	}
	open := func() (uint, error) { return k.mod.openSession(t.slot, false) }
	return &connection{token: t, key: key, card: card, firstSession: session, pool: newPool(session, limit, open, k.mod.closeSession)}, certs, nil
}

// maxSessions is how many signatures may be under way at once, and whether the
// token is a card. A card makes one after the other anyhow; and a key that
// always authenticates wants the PIN in the command before the signature, with
// no other session's in between. What a module does with several sessions whose
// card is pulled is not to be relied on: OpenSC 0.23 crashes.
func (k *Key) maxSessions(t token, key keyObject) (limit int, card bool, err error) {
	slot, err := k.mod.slotInfo(t.slot)
	if err != nil {
		return 0, false, err
	}
	limit = defaultMaxSessions
	switch {
	case slot.removable || key.alwaysAuthenticate:
		return 1, slot.removable, nil
	case k.cfg.MaxSessions > 0:
		limit = k.cfg.MaxSessions
	}
	if n := t.info.maxSessions; n > 0 && n < uint(limit) {
		limit = int(n)
	}
	return limit, false, nil
}

// Public implements [crypto.Signer].
func (k *Key) Public() crypto.PublicKey { return k.pub }

// Chain implements [signer.Signer] with the certificates on the token.
func (k *Key) Chain() []*x509.Certificate { return k.chain }

// Ref returns a reference that opens this key again, as far as its label and ID
// tell it from the other keys of the token, in whatever slot that is. It has the
// module and the pin-source of the Config, but no PIN.
func (k *Key) Ref() keystore.Ref {
	conn := k.conn.Load()
	u := conn.key.uri(conn.token).withModuleOf(k.cfg.URI)
	if k.cfg.Module != "" {
		u.ModuleName, u.ModulePath = "", k.cfg.Module
	}
	u.PINSource = k.cfg.URI.PINSource
	return u.ref()
}

// Close implements [signer.Signer]. The module is finalized when the last of
// its keys is closed. A Sign that asks for a PIN ends with [signer.ErrClosed]
// if Config.PIN heeds its context.
func (k *Key) Close() error {
	k.cancel()
	k.closeMu.Lock()
	defer k.closeMu.Unlock()
	if k.closed {
		return nil
	}
	k.closed = true
	// A session that is gone with its token is closed well enough.
	if err := k.conn.Load().pool.drain(0); err != nil && !lost(err) {
		return errors.Join(err, k.mod.release())
	}
	return k.mod.release()
}

// Sign implements [crypto.Signer]. The random source is not used.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	m, err := signer.MechanismFor(k.pub, digest, opts)
	if err != nil {
		return nil, err
	}
	op, err := operationFor(k.pub, m, digest)
	if err != nil {
		return nil, err
	}
	k.closeMu.RLock()
	defer k.closeMu.RUnlock()
	if k.closed {
		return nil, signer.ErrClosed
	}
	sig, err := k.attempt(op)
	switch {
	case err == nil:
		return op.finish(sig)
	case k.ctx.Err() != nil && errors.Is(err, k.ctx.Err()):
		return nil, fmt.Errorf("sign: %w: %w", signer.ErrClosed, err)
	}
	return nil, fmt.Errorf("sign with %s: %w", k.auth.ref, err)
}

// attempt signs, and again after each loss of the connection, up to a bound.
func (k *Key) attempt(op operation) ([]byte, error) {
	d := k.auth.begin()
	defer d.end()
	for n := 1; ; {
		conn := k.conn.Load()
		sig, err := k.sign(conn, op, d)
		switch {
		case err == nil:
			return sig, nil
		case errors.Is(err, errRetired): // noticed by another, or not mended so far
		case !lost(err) || n == maxAttempts:
			return nil, err
		default:
			n++
		}
		d.loss = err
		if err = k.reconnect(conn, err, d); err != nil {
			if !lost(err) || n == maxAttempts {
				return nil, err
			}
			n++
			d.loss = err
		}
	}
}

func (k *Key) sign(conn *connection, op operation, d *dialog) ([]byte, error) {
	session, err := conn.pool.get()
	if err != nil {
		return nil, err
	}
	var authenticate func() error
	if conn.key.alwaysAuthenticate {
		authenticate = func() error { return d.loginForSignature(k.ctx, conn.token, session) }
	}
	if conn.card {
		k.mod.cardMu.Lock()
		defer k.mod.cardMu.Unlock()
	}
	sig, err := k.mod.sign(session, conn.key.handle, op.mechanism, op.input, authenticate)
	conn.pool.put(session, err)
	return sig, err
}
