package pkcs11

import (
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

// reconnect replaces a connection that was lost by cause. Of several that
// notice the loss one does it; the others take what it made. Of the errors in
// its result only the new one can be told by errors.Is.
func (k *Key) reconnect(old *connection, cause error, d *dialog) error {
	k.reconnectMu.Lock()
	defer k.reconnectMu.Unlock()
	if k.conn.Load() != old {
		return nil
	}
	k.log.Debug("finding the key again", "cause", cause)
	// Sessions that are left keep the user logged in until there is a new one,
	// so that a PIN is asked only if the token forgot the last.
	old.pool.retire()
	if removed(cause) {
		old.pool.forget()
	}
	conn, _, err := k.connect(k.ctx, old.narrow(k.cfg.URI), d)
	if errors.Is(err, ckrSessionCount) {
		_ = old.pool.drain(0)
		old.pool.wait()
		conn, _, err = k.connect(k.ctx, old.narrow(k.cfg.URI), d)
	}
	if err != nil {
		_ = old.pool.drain(0) // what is left of it
		return fmt.Errorf("%v; finding the key again: %w", cause, err)
	}
	_ = old.pool.drain(conn.firstSession)
	if !signer.SamePublicKey(conn.key.pub, k.pub) {
		return errors.Join(fmt.Errorf("%v; another key is in its place: %w", cause, signer.ErrUnavailable), conn.pool.drain(0))
	}
	k.conn.Store(conn)
	return nil
}

// again returns what names the key after it was found once by u: nothing that
// came to other tokens, or to this one, since then makes it ambiguous.
func (c *connection) narrow(u URI) URI {
	t := c.token.info
	u.Token, u.Manufacturer, u.Model, u.Serial = trim(t.label), trim(t.manufacturer), trim(t.model), trim(t.serial)
	if c.key.label != "" || len(c.key.id) > 0 {
		u.Object, u.ID, u.Type = c.key.label, string(c.key.id), "private"
	}
	return u
}
