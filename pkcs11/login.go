package pkcs11

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// An authenticator logs in with what Config.PIN gives. A PIN that the token
// refused is not tried again: a source that gives it again and again would lock
// the token. It is safe for concurrent use.
type authenticator struct {
	ask keystore.PINFunc
	ref keystore.Ref

	mu      sync.Mutex
	refused [sha256.Size]byte // hash of the last PIN that was refused
}

// A dialog is what is asked of a person to open a key or for one signature. A
// PIN that the token accepted in it, or never saw, is not asked again if the
// token is lost, but given again when it is back. It is used by one goroutine
// and ended by the caller.
type dialog struct {
	*authenticator
	pins       map[loginTarget][]byte
	padPrompts int   // times that a device asked for the PIN by itself
	loss       error // what the last loss was, if there was one
}

// A purpose is what a PIN is given for: a token, by what tells it from others,
// and a user (CKU_…).
type loginTarget struct {
	label, manufacturer, model, serial string
	user                               uint
}

// maxPads bounds how often a device asks for the PIN in one dialog: for a
// login and for a signature.
const maxPadPrompts = 2

func (a *authenticator) begin() *dialog { return &dialog{authenticator: a} }

// end clears the PINs.
func (d *dialog) end() {
	for _, pin := range d.pins {
		clear(pin)
	}
}

// login logs session in as the user for the token's private objects, unless
// the token needs no login or this process is logged in already. The token was
// found just now: its flags tell how many tries are left.
func (d *dialog) login(ctx context.Context, t token, session uint) error {
	if t.info.flags&cktFlagLoginRequired == 0 {
		return nil
	}
	in, err := t.mod.loggedIn(session)
	if err == nil && !in {
		err = d.authenticate(ctx, t, session, ckuUser)
	}
	if errors.Is(err, ckrUserAlreadyLoggedIn) {
		return nil
	}
	return t.wrap(err)
}

// perSignature logs in for the signature that was just begun in session, as a
// key with CKA_ALWAYS_AUTHENTICATE wants (PKCS #11 v3.1, section 4.9).
func (d *dialog) loginForSignature(ctx context.Context, t token, session uint) (err error) {
	// Another process may have used up tries since the token was found.
	if t.info, err = t.mod.tokenInfo(t.slot); err != nil {
		return t.wrap(err)
	}
	return t.wrap(d.authenticate(ctx, t, session, ckuContextSpecific))
}

// authenticate gives the module one PIN for one purpose.
func (d *dialog) authenticate(ctx context.Context, t token, session, user uint) error {
	switch {
	case t.info.flags&cktFlagUserPINLocked != 0:
		return signer.WithHint(signer.ErrPINLocked,
			"unblock it with the PUK or as the security officer")
	case user == ckuUser && t.info.flags&cktFlagUserPINInitialized == 0:
		return ckrUserPINNotInit
	case t.info.flags&cktFlagProtectedPath != 0:
		if d.padPrompts == maxPadPrompts {
			return fmt.Errorf("%w: the device asked for the PIN %d times already: %w", errLogin, d.padPrompts, d.loss)
		}
		d.padPrompts++
		return loginError(t.mod.login(session, user, nil)) // the device asks by itself
	}
	pin, err := d.pin(ctx, t.info, user)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(pin)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refused == hash {
		clear(pin)
		return fmt.Errorf("not trying again the PIN that it refused: %w", signer.ErrPINIncorrect)
	}
	err = loginError(t.mod.login(session, user, pin))
	if errors.Is(err, signer.ErrPINIncorrect) {
		d.refused = hash
	}
	if errors.Is(err, errLogin) {
		clear(pin)
		return err
	}
	if d.pins == nil {
		d.pins = make(map[loginTarget][]byte)
	}
	d.pins[t.info.loginTarget(user)] = pin
	return err
}

// pin returns the PIN that was kept, or asks for one; so it does when the token
// says that a wrong one was given since. It is not kept any more.
func (d *dialog) pin(ctx context.Context, info tokenInfo, user uint) ([]byte, error) {
	use := info.loginTarget(user)
	before := d.pins[use]
	delete(d.pins, use)
	if before != nil && info.flags&(cktFlagUserPINCountLow|cktFlagUserPINFinalTry) == 0 {
		return before, nil
	}
	clear(before)
	if d.ask == nil {
		return nil, signer.ErrPINRequired
	}
	pin, err := d.ask(ctx, keystore.Prompt{
		What:         keystore.AskPIN,
		Ref:          d.ref,
		PerSignature: user == ckuContextSpecific,
		FewTries:     info.flags&cktFlagUserPINCountLow != 0,
		LastTry:      info.flags&cktFlagUserPINFinalTry != 0,
	})
	if err == nil && len(pin) == 0 {
		// Cryptoki takes an empty PIN for the protected authentication path.
		err = fmt.Errorf("empty PIN: %w", signer.ErrPINRequired)
	}
	if err != nil {
		clear(pin)
		return nil, err
	}
	return pin, nil
}

func (i tokenInfo) loginTarget(user uint) loginTarget {
	return loginTarget{i.label, i.manufacturer, i.model, i.serial, user}
}

// loginError marks an error of C_Login, unless the PIN cannot have reached the
// token.
func loginError(err error) error {
	if err == nil || errors.Is(err, ckrSessionHandleInvalid) {
		return err
	}
	return fmt.Errorf("%w: %w", errLogin, err)
}

// quote keeps what a token says of itself from steering a terminal.
func quote(s string) string { return fmt.Sprintf("%q", s) }
