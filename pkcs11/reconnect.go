package pkcs11

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

// reconnect replaces a connection that was lost because of cause. If several
// goroutines notice the loss, one of them reconnects and the others use the new
// connection. The returned error wraps the error of reconnecting, but not
// cause.
func (k *Key) reconnect(ctx context.Context, old *connection, cause error, d *dialog) error {
	if err := k.reconnecting.lock(ctx); err != nil {
		return err
	}
	defer k.reconnecting.unlock()
	if k.conn.Load() != old {
		return nil
	}
	if errors.As(cause, new(*endedError)) {
		k.log.Warn("the process of the PKCS #11 module ended; another one is started", "cause", cause)
	} else {
		k.log.Debug("reconnecting to the token", "cause", cause)
	}
	// Keep the remaining sessions open until there is a new one, so that
	// the user stays logged in and is asked for the PIN only if the token
	// requires it.
	old.pool.retire()
	if removed(cause) {
		old.pool.forget()
	}
	conn, _, err := k.connect(ctx, old.narrow(k.cfg.URI), d)
	if errors.Is(err, ckrSessionCount) {
		_ = old.pool.drain(0)
		old.pool.wait()
		conn, _, err = k.connect(ctx, old.narrow(k.cfg.URI), d)
	}
	if err != nil {
		_ = old.pool.drain(0)
		return fmt.Errorf("%v; reconnecting failed: %w", cause, err)
	}
	_ = old.pool.drain(conn.firstSession)
	if !signer.SamePublicKey(conn.key.pub, k.pub) {
		return errors.Join(fmt.Errorf("%v; the token now has a different key: %w", cause, signer.ErrUnavailable), conn.pool.drain(0))
	}
	k.conn.Store(conn)
	return nil
}

// narrow adds the attributes of the token and key in c to u, the URI by which
// they were found. Tokens and keys that were added since then do not make the
// result ambiguous.
func (c *connection) narrow(u URI) URI {
	t := c.token.info
	u.Token, u.Manufacturer, u.Model, u.Serial = trim(t.label), trim(t.manufacturer), trim(t.model), trim(t.serial)
	if c.key.label != "" || len(c.key.id) > 0 {
		u.Object, u.ID, u.Type = c.key.label, string(c.key.id), "private"
	}
	return u
}
