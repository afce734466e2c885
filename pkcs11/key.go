package pkcs11

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Config names a key on a token. Open does not modify it.
type Config struct {
	URI URI

	// Module is the path of the shared library; "" takes the URI's
	// module-path or module-name, or else p11-kit's proxy.
	Module string

	// PIN is asked when the token wants a login, and before each signature
	// if the key always authenticates. nil: the URI's pin-value, or its
	// pin-source if that is a file. It may be called from several goroutines.
	PIN keystore.PINFunc

	// Certificates are certificates from elsewhere. One of them may be the
	// key's, if the token shows neither certificate nor public key.
	Certificates []*x509.Certificate

	// MaxSessions bounds the sessions for concurrent signatures; 0: 8. The
	// token's own limit holds in any case, and a card in a reader gets one.
	MaxSessions int
}

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
	mod    *sharedModule
	pub    crypto.PublicKey
	chain  []*x509.Certificate

	schemes func() []tls.SignatureScheme

	use  sync.RWMutex // held for reading while the module is asked; by Close for writing
	shut bool

	renewing sync.Mutex // held while reconnecting, so that one does
	conn     atomic.Pointer[connection]
}

// A connection is a key's handle and sessions, from login to loss.
type connection struct {
	token token
	key   keyObject
	pool  *pool
	first uint // the session that pool began with
	card  bool // in a reader: signatures wait for those of the module's other cards
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
	k := &Key{cfg: cfg, auth: newAuthenticator(cfg), mod: mod}
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
	bare := cfg.URI
	bare.PINValue, bare.PINSource = "", ""
	return &authenticator{ask: cfg.PIN, ref: keystore.Ref{Scheme: "pkcs11", Rest: bare.String()[len("pkcs11:"):]}}
}

// connect finds the token of u, logs in and finds the key.
func (k *Key) connect(ctx context.Context, u URI, d *dialog) (_ *connection, _ []*x509.Certificate, err error) {
	// OpenSC 0.23 crashes if one thread finds that a card was pulled while
	// another signs with it, be it by another key.
	k.mod.cards.Lock()
	defer k.mod.cards.Unlock()
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
	return &connection{token: t, key: key, card: card, first: session, pool: newPool(session, limit, open, k.mod.closeSession)}, certs, nil
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
	case slot.removable || key.always:
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

// URI names the key so that it is found again: its token, label and ID.
func (k *Key) URI() URI {
	conn := k.conn.Load()
	return conn.key.uri(conn.token)
}

// Ref names the key so that it is found again.
func (k *Key) Ref() keystore.Ref {
	return keystore.Ref{Scheme: "pkcs11", Rest: k.URI().in(k.cfg.URI).String()[len("pkcs11:"):]}
}

// Close implements [signer.Signer]. The module is finalized when the last of
// its keys is closed. A Sign that asks for a PIN ends with [signer.ErrClosed]
// if Config.PIN heeds its context.
func (k *Key) Close() error {
	k.cancel()
	k.use.Lock()
	defer k.use.Unlock()
	if k.shut {
		return nil
	}
	k.shut = true
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
	k.use.RLock()
	defer k.use.RUnlock()
	if k.shut {
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
	if conn.key.always {
		authenticate = func() error { return d.perSignature(k.ctx, conn.token, session) }
	}
	if conn.card {
		k.mod.cards.Lock()
		defer k.mod.cards.Unlock()
	}
	sig, err := k.mod.sign(session, conn.key.handle, op.mechanism, op.input, authenticate)
	conn.pool.put(session, err)
	return sig, err
}

// reconnect replaces a connection that was lost by cause. Of several that
// notice the loss one does it; the others take what it made. Of the errors in
// its result only the new one can be told by errors.Is.
func (k *Key) reconnect(old *connection, cause error, d *dialog) error {
	k.renewing.Lock()
	defer k.renewing.Unlock()
	if k.conn.Load() != old {
		return nil
	}
	// Sessions that are left keep the user logged in until there is a new one,
	// so that a PIN is asked only if the token forgot the last.
	old.pool.retire()
	if removed(cause) {
		old.pool.forget()
	}
	conn, _, err := k.connect(k.ctx, old.again(k.cfg.URI), d)
	if errors.Is(err, ckrSessionCount) {
		_ = old.pool.drain(0)
		old.pool.wait()
		conn, _, err = k.connect(k.ctx, old.again(k.cfg.URI), d)
	}
	if err != nil {
		_ = old.pool.drain(0) // what is left of it
		return fmt.Errorf("%v; finding the key again: %w", cause, err)
	}
	_ = old.pool.drain(conn.first)
	if !signer.SamePublicKey(conn.key.pub, k.pub) {
		return errors.Join(fmt.Errorf("%v; another key is in its place: %w", cause, signer.ErrUnavailable), conn.pool.drain(0))
	}
	k.conn.Store(conn)
	return nil
}

// again returns what names the key after it was found once by u: nothing that
// came to other tokens, or to this one, since then makes it ambiguous.
func (c *connection) again(u URI) URI {
	t := c.token.info
	u.Token, u.Manufacturer, u.Model, u.Serial = trim(t.label), trim(t.manufacturer), trim(t.model), trim(t.serial)
	if c.key.label != "" || len(c.key.id) > 0 {
		u.Object, u.ID, u.Type = c.key.label, string(c.key.id), "private"
	}
	return u
}
