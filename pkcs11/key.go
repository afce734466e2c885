package pkcs11

import (
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Key is a private key on a token. It implements [signer.Signer] and
// [signer.SchemeLimiter], and is safe for concurrent use.
//
// After the token was removed, reset or logged out, the next signature searches
// all slots for the token and continues if it has the same key.
type Key struct {
	cfg    Config
	ctx    context.Context // for PIN prompts after Open; canceled by Close
	cancel context.CancelFunc
	auth   *authenticator
	log    *slog.Logger
	mod    *sharedModule
	pub    crypto.PublicKey
	certs  signer.Certificates

	schemes func() []tls.SignatureScheme

	mu        sync.Mutex
	idle      sync.Cond // uses mu; signals that uses or abandoned has changed
	uses      int       // calls that use the module
	abandoned int       // those that nobody waits for
	closed    bool
	busy      time.Time     // since when uses is not 0
	ended     chan struct{} // closed after the last use, if Close did not wait for it; or nil
	release   func() error  // releases the resources once, after the last use

	reconnecting *lock
	conn         atomic.Pointer[connection]
}

// A connection contains the handle of a key and its sessions, from the login to
// the loss of the token.
type connection struct {
	token        token
	key          keyObject
	pool         *pool
	firstSession uint         // the first session of pool
	card         bool         // a card in a reader: only one card of the module signs at a time
	proof        signer.Proof // that key is the private key of its public key
}

// maxAttempts limits how often one signature is attempted if the token is lost
// repeatedly or always fails.
const maxAttempts = 10

// maxEnded limits how often it is attempted if the helper process of the module ends.
const maxEnded = 2

// Open opens the only key that matches cfg. The caller closes it. ctx is used
// until Open returns, also if the module does not answer: Open then returns 0.1 seconds
// after ctx ends, and closes the key in the background. Later PIN prompts, for
// example when the token is back, get a context that is canceled by Close or when the
// context of the signature ends. It has the values of the latter, or those of ctx for
// Sign. Open logs a warning if Config.Certificates contains no certificate of the key.
func Open(ctx context.Context, cfg Config) (*Key, error) { return openGiven(ctx, cfg, &loaded) }

// openGiven is open for a Config whose certificates are not just candidates.
func openGiven(ctx context.Context, cfg Config, table *modules) (*Key, error) {
	k, err := open(ctx, cfg, table)
	if err == nil && len(cfg.Certificates) > 0 && !certifies(cfg.Certificates, k.pub) {
		k.log.Warn("none of the given certificates is for the key", "key", k.auth.ref.String())
	}
	return k, err
}

func certifies(certs []*x509.Certificate, pub crypto.PublicKey) bool {
	return slices.ContainsFunc(certs, func(c *x509.Certificate) bool { return signer.SamePublicKey(c.PublicKey, pub) })
}

func open(ctx context.Context, cfg Config, table *modules) (*Key, error) {
	return bounded(ctx, cfg.in(table), func() (*Key, error) { return openNow(ctx, cfg, table) }, func(k *Key) { _ = k.Close() })
}

// openNow is open, but waits for the module without a limit.
func openNow(ctx context.Context, cfg Config, table *modules) (*Key, error) {
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
	k := &Key{cfg: cfg, auth: newAuthenticator(cfg), log: logging.OrDiscard(cfg.Logger), mod: mod, reconnecting: newLock()}
	k.idle.L = &k.mu
	k.release = sync.OnceValue(k.releaseNow)
	d := k.auth.begin(ctx)
	defer d.end()
	conn, certs, err := k.connect(ctx, cfg.URI, d)
	if err != nil {
		return nil, errors.Join(mod.explain(err), mod.release())
	}
	k.ctx, k.cancel = context.WithCancel(context.WithoutCancel(ctx))
	k.conn.Store(conn)
	k.pub = conn.key.pub
	k.certs, _ = signer.SelectCertificates(k.pub, certs, cfg.now()) // without a Chain on error: the key has no certificate
	if k.certs.Chain != nil {
		k.certs.Others = nil // nobody gave them for this key
	}
	k.schemes = sync.OnceValue(k.findSchemes)
	mod.add(k)
	return k, nil
}

func openModule(cfg Config) (*sharedModule, error) { return loaded.find(cfg) }

// find returns the module that cfg names. The caller releases it.
func (m *modules) find(cfg Config) (*sharedModule, error) {
	isolation := cfg.isolation()
	path, pathErr := cfg.modulePath()
	if pathErr != nil && cfg.namesModule() && isolation != IsolationOff {
		return nil, pathErr
	}
	program, err := helperFor(isolation)
	if err = cmp.Or(err, pathErr); err != nil { // without a helper, the error does not ask for p11-kit
		return nil, err
	}
	here := func(why error) (*sharedModule, error) {
		logging.OrDiscard(cfg.Logger).Warn("the helper for PKCS #11 modules cannot be used; the module runs in this process", "error", why)
		return m.open(path)
	}
	if program == "" && isolation == IsolationAuto {
		if why := refusedHelper(); why != nil {
			return here(why)
		}
	}
	if program == "" {
		return m.open(path)
	}
	mod, err := m.openIsolated(path, program, cfg.helperEnv())
	if isolation == IsolationAuto && supported() == nil && errors.As(err, new(*helperError)) {
		return here(err)
	}
	return mod, err
}

func newAuthenticator(cfg Config) *authenticator {
	return &authenticator{ask: cfg.PIN, permit: cfg.permit, ref: cfg.name(), uri: cfg.URI}
}

// connect finds the token and the key of u, and logs in.
func (k *Key) connect(ctx context.Context, u URI, d *dialog) (_ *connection, _ []*x509.Certificate, err error) {
	// OpenSC 0.23 crashes if one thread detects the removal of a card while
	// another thread signs with the card, even with a different key.
	if err := k.mod.card.lock(ctx); err != nil {
		return nil, nil, err
	}
	defer k.mod.card.unlock()
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
	if err := d.login(t, session); err != nil {
		return nil, nil, err
	}
	key, certs, err := findKey(t, session, u, k.cfg.Certificates, k.cfg.now())
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

// maxSessions returns how many sessions the key may use, and whether the token
// is a card in a reader. A card gets one session: it makes one signature at a
// time in any case, and OpenSC 0.23 crashes if a card with several sessions is
// removed. A key with CKA_ALWAYS_AUTHENTICATE also gets one session: the PIN
// must be in the command before the signature, without a command of another
// session in between.
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

// Chain implements [signer.Signer]. The certificates come from the token and
// from Config.Certificates.
func (k *Key) Chain() []*x509.Certificate { return k.certs.Chain }

// Certificates returns the certificates on the token and those of
// Config.Certificates.
func (k *Key) Certificates() signer.Certificates { return k.certs }

// Ref returns a reference that opens this key again, in any slot, provided that
// its label and ID are unique on the token. The reference contains the module
// and the pin-source of the Config, but no PIN.
func (k *Key) Ref() keystore.Ref {
	conn := k.conn.Load()
	u := conn.key.uri(conn.token).withModuleOf(k.cfg.URI)
	if k.cfg.Module != "" {
		u.ModuleName, u.ModulePath = "", k.cfg.Module
	}
	u.PINSource = k.cfg.URI.PINSource
	return u.ref()
}
