package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// An authenticator logs in with the PIN that Config.PIN returns. It does not
// retry a PIN that the token refused: a PIN source that always returns the same
// incorrect PIN would lock the token. It is safe for concurrent use.
type authenticator struct {
	ask    keystore.PINFunc
	permit func(keystore.Prompt) error // before the device itself asks; nil: permitted
	ref    keystore.Ref
	uri    URI // for the module
}

// A dialog contains the PINs that a user enters to open a key or to make one
// signature. If the token is lost during a dialog, the dialog uses the same PIN
// when the token is back, provided that the token accepted the PIN or has not
// received it. A dialog is used by one goroutine. The caller calls end.
type dialog struct {
	*authenticator
	ctx        context.Context // for prompts, and for the wait for others; after its end no PIN is sent
	pins       map[loginTarget][]byte
	padPrompts int   // how often the device itself has asked for the PIN
	loss       error // the last loss of the token; nil if there was none
}

// A loginTarget identifies what a PIN is for: a token and a user type (CKU_…).
type loginTarget struct {
	label, manufacturer, model, serial string
	user                               uint
}

// maxPadPrompts limits how often a device asks for the PIN in one dialog: once
// for a login and once for a signature.
const maxPadPrompts = 2

func (a *authenticator) begin(ctx context.Context) *dialog {
	return &dialog{authenticator: a, ctx: ctx}
}

// end clears the PINs.
func (d *dialog) end() {
	for _, pin := range d.pins {
		clear(pin)
	}
}

// login logs in as the normal user, unless the token requires no login or the
// process is already logged in. The caller has just read the flags of t, which
// show whether few tries are left.
func (d *dialog) login(t token, session uint) error {
	if t.info.flags&cktFlagLoginRequired == 0 {
		return nil
	}
	in, err := t.mod.loggedIn(session)
	if err == nil && !in {
		err = d.authenticate(t, session, ckuUser)
	}
	if errors.Is(err, ckrUserAlreadyLoggedIn) {
		return nil
	}
	return t.wrap(err)
}

// loginForSignature logs in for the signature that was just started in session,
// as a key with CKA_ALWAYS_AUTHENTICATE requires (PKCS #11 v3.1, section 4.9).
func (d *dialog) loginForSignature(t token, session uint) (err error) {
	// Another process may have used tries since the flags were read.
	if t.info, err = t.mod.tokenInfo(t.slot); err != nil {
		return t.wrap(err)
	}
	return t.wrap(d.authenticate(t, session, ckuContextSpecific))
}

// risky reports whether the next incorrect PIN may lock the token. It reads the flags
// again if a login of this process failed, because they may be from before it, or
// from before it was counted.
func (t *token) risky() (bool, error) {
	y := t.tally()
	y.tries.Lock()
	defer y.tries.Unlock()
	if y.used {
		info, err := t.mod.tokenInfo(t.slot)
		if err != nil {
			return false, err
		}
		t.info = info
	}
	return y.risky(t.info.flags), nil
}

// authenticate calls C_Login at most once.
func (d *dialog) authenticate(t token, session, user uint) error {
	switch {
	case t.info.flags&cktFlagUserPINLocked != 0:
		return signer.WithHint(signer.ErrPINLocked,
			"unblock the PIN with the PUK or as the security officer")
	case user == ckuUser && t.info.flags&cktFlagUserPINInitialized == 0:
		return ckrUserPINNotInit
	case t.info.flags&cktFlagProtectedPath != 0:
		if d.padPrompts == maxPadPrompts {
			return fmt.Errorf("%w: the device has already asked for the PIN %d times: %w", errLogin, d.padPrompts, d.loss)
		}
		if d.permit != nil {
			if err := d.permit(d.prompt(t.info, user, false)); err != nil {
				return err
			}
		}
		d.padPrompts++
		_, done := await.Person(d.ctx, await.PersonTimeout)
		defer done()
		return loginError(t.mod.login(session, user, nil)) // the device asks for the PIN
	}
	asked := time.Now()
	risky, err := t.risky()
	if err != nil {
		return err
	}
	pin, err := d.pin(t.info, user, risky)
	if err != nil {
		return err
	}
	err = d.send(t, session, user, pin, risky, time.Since(asked) > flagsAge)
	if errors.As(err, new(unknownResultError)) && d.ctx.Err() == nil {
		// Only a person may use a try for it. The prompt says that it may be the last one.
		clear(pin)
		var refused error
		if pin, refused = d.pin(t.info, user, true); refused != nil {
			return err
		}
		err = d.send(t, session, user, pin, true, time.Since(asked) > flagsAge)
	}
	if errors.Is(err, errLogin) || errors.Is(err, signer.ErrPINIncorrect) {
		clear(pin)
		return err
	}
	if d.pins == nil {
		d.pins = make(map[loginTarget][]byte)
	}
	d.pins[t.info.loginTarget(user)] = pin
	return err
}

// flagsAge is how long the flags of a token count as current.
const flagsAge = time.Second

// send sends the PIN to the token, unless other logins have used tries since the
// flags in t were read, and the next one may be the last: the PIN can be from a
// source that must not use it. risky says that the PINFunc knows of that. send
// reads the flags again if they can have changed: if they are old, a try was used
// before, or this process has used one.
func (d *dialog) send(t token, session, user uint, pin []byte, risky, old bool) error {
	y, flags := t.tally(), t.info.flags
	y.tries.Lock()
	defer y.tries.Unlock()
	if old || y.used || flags&cktFlagUserPINCountLow != 0 {
		now, err := t.mod.tokenInfo(t.slot)
		if err != nil {
			return err
		}
		flags = now.flags
	}
	switch {
	case flags&^t.info.flags&(cktFlagUserPINFinalTry|cktFlagUserPINLocked) != 0:
		return usedMeanwhile("other logins have used all tries but one meanwhile")
	case y.risky(flags) && !risky && t.info.flags&cktFlagUserPINFinalTry == 0:
		return usedMeanwhile("other logins have used a try meanwhile")
	case d.ctx.Err() != nil: // nobody waits for the login any more
		return context.Cause(d.ctx)
	}
	told := risky || t.info.flags&cktFlagUserPINFinalTry != 0
	if err := y.refuses(pin); err != nil && !(told && errors.As(err, new(unknownResultError))) {
		return err
	}
	err := loginError(t.mod.login(session, user, pin))
	if end := (*endedError)(nil); errors.As(err, &end) && end.sent {
		y.lose(pin)
		err = &lostLoginError{err}
	}
	y.used = y.used || errors.Is(err, errLogin)
	if err == nil {
		y.accept()
	}
	if errors.Is(err, signer.ErrPINIncorrect) {
		after, _ := t.mod.tokenInfo(t.slot) // without flags on error
		y.refuse(pin, errors.Is(err, signer.ErrTryCounted), after.flags)
	}
	return err
}

func usedMeanwhile(text string) error {
	return signer.WithHint(fmt.Errorf("%w: %s", signer.ErrPINRequired, text),
		"stop the program that uses a wrong PIN, then try again")
}

// pin removes the PIN for the target from d and returns it. If there is none,
// or the token reports an incorrect PIN since then, pin asks for the PIN.
// risky says that the next incorrect PIN may lock the token.
func (d *dialog) pin(info tokenInfo, user uint, risky bool) ([]byte, error) {
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
	pin, err := d.ask(d.ctx, d.prompt(info, user, risky))
	if err == nil && len(pin) == 0 {
		// In Cryptoki an empty PIN selects the protected authentication path.
		err = fmt.Errorf("empty PIN: %w", signer.ErrPINRequired)
	}
	if err != nil {
		clear(pin)
		return nil, err
	}
	return pin, nil
}

// prompt returns the question for the PIN. risky says that the next incorrect PIN
// may lock the token.
func (a *authenticator) prompt(info tokenInfo, user uint, risky bool) keystore.Prompt {
	p := keystore.Prompt{
		What:         keystore.AskPIN,
		Ref:          a.ref,
		PerSignature: user == ckuContextSpecific,
		FewTries:     info.flags&cktFlagUserPINCountLow != 0,
		LastTry:      info.flags&cktFlagUserPINFinalTry != 0,
		TriesUnknown: risky && info.flags&cktFlagUserPINFinalTry == 0,
	}
	if p.TriesUnknown {
		device := URI{Token: uriText(info.label), Serial: uriText(info.serial)}.withModuleOf(a.uri).String()
		p.Device = keystore.Ref{Scheme: "pkcs11", Rest: device[len("pkcs11:"):]}
	}
	return p
}

func (i tokenInfo) loginTarget(user uint) loginTarget {
	return loginTarget{i.label, i.manufacturer, i.model, i.serial, user}
}

// loginError adds errLogin to an error of C_Login, unless the PIN cannot have
// reached the token, and signer.ErrTryCounted if the token has counted a try.
func loginError(err error) error {
	end := (*endedError)(nil)
	switch {
	case err == nil || errors.Is(err, ckrSessionHandleInvalid), errors.As(err, &end) && !end.sent:
		return err
	case errors.Is(err, ckrPINIncorrect), errors.Is(err, ckrPINLocked):
		return &countedError{err}
	}
	return fmt.Errorf("%w: %w", errLogin, err)
}

// A countedError is an error of C_Login after the token has counted a try.
type countedError struct{ err error }

func (e *countedError) Error() string   { return errLogin.Error() + ": " + e.err.Error() }
func (e *countedError) Unwrap() []error { return []error{errLogin, e.err, signer.ErrTryCounted} }

// A lostLoginError is an error of C_Login that ended the helper process of the module. The
// token has perhaps counted a try, so that nothing repeats the login by itself: neither
// this process nor one that a service manager starts instead.
type lostLoginError struct{ err error }

func (e *lostLoginError) Error() string {
	return e.err.Error() + "; it is not known whether the PIN was right"
}

func (e *lostLoginError) Unwrap() []error {
	return []error{e.err, signer.ErrPINRequired, signer.ErrTryCounted}
}

// quote escapes control characters in text from a token.
func quote(s string) string { return fmt.Sprintf("%q", s) }
