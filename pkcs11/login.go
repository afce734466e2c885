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

// login logs session in as the user for the token's private objects, unless
// the token needs no login or this process is logged in already.
func (a *authenticator) login(ctx context.Context, t token, session uint) error {
	// The flags of now, not those of when the token was found: another
	// process may have used up tries meanwhile.
	info, err := t.mod.tokenInfo(t.slot)
	if err != nil {
		return err
	}
	if info.flags&cktFlagLoginRequired == 0 {
		return nil
	}
	if in, err := t.mod.loggedIn(session); err != nil || in {
		return err
	}
	err = a.authenticate(ctx, t, info, session, ckuUser)
	if errors.Is(err, ckrUserAlreadyLoggedIn) {
		return nil
	}
	return err
}

// authenticate gives the module one PIN for one purpose.
func (a *authenticator) authenticate(ctx context.Context, t token, info tokenInfo, session, user uint) error {
	switch {
	case info.flags&cktFlagUserPINLocked != 0:
		return signer.WithHint(fmt.Errorf("token %s: %w", quote(trim(info.label)), signer.ErrPINLocked),
			"unblock it with the PUK or as the security officer")
	case user == ckuUser && info.flags&cktFlagUserPINInitialized == 0:
		return fmt.Errorf("token %s: %w", quote(trim(info.label)), ckrUserPINNotInit)
	case info.flags&cktFlagProtectedPath != 0:
		return loginError(t.mod.login(session, user, nil)) // the device asks by itself
	case a.ask == nil:
		return fmt.Errorf("token %s: %w", quote(trim(info.label)), signer.ErrPINRequired)
	}
	pin, err := a.ask(ctx, keystore.Prompt{
		What:         keystore.AskPIN,
		Ref:          a.ref,
		PerSignature: user == ckuContextSpecific,
		FewTries:     info.flags&cktFlagUserPINCountLow != 0,
		LastTry:      info.flags&cktFlagUserPINFinalTry != 0,
	})
	defer clear(pin)
	if err != nil {
		return fmt.Errorf("token %s: %w", quote(trim(info.label)), err)
	}
	if len(pin) == 0 {
		// Cryptoki takes an empty PIN for the protected authentication path.
		return fmt.Errorf("token %s: empty PIN: %w", quote(trim(info.label)), signer.ErrPINRequired)
	}
	hash := sha256.Sum256(pin)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refused == hash {
		return fmt.Errorf("token %s: not trying again the PIN that it refused: %w", quote(trim(info.label)), signer.ErrPINIncorrect)
	}
	err = loginError(t.mod.login(session, user, pin))
	if errors.Is(err, signer.ErrPINIncorrect) {
		a.refused = hash
	}
	return err
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

// perSignature logs in for the signature that was just begun in session, as a
// key with CKA_ALWAYS_AUTHENTICATE wants (PKCS #11 v3.1, section 4.9).
func (a *authenticator) perSignature(ctx context.Context, t token, session uint) error {
	info, err := t.mod.tokenInfo(t.slot)
	if err != nil {
		return err
	}
	return a.authenticate(ctx, t, info, session, ckuContextSpecific)
}
