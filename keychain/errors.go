package keychain

import (
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/keychain/internal/native"
	"github.com/holdfast-dev/holdfast/signer"
)

// An Error is what macOS gave as the reason: an OSStatus, or a CFError of
// Security.framework, CryptoTokenKit or LocalAuthentication. errors.Is compares
// Domain and Code, and finds the errors of package signer and
// [errors.ErrUnsupported] behind it.
type Error struct {
	Call    string // the function that failed, such as "SecKeyCreateSignature"
	Domain  string // such as "NSOSStatusErrorDomain"; "" if no reason was given
	Code    int    // means something else in each domain
	Message string // as macOS words it, in the language of the user
}

func (e Error) Error() string {
	switch e.Domain {
	case "":
		return fmt.Sprintf("%s: %s", e.Call, e.Message)
	case native.OSStatusDomain:
		return fmt.Sprintf("%s: %s (OSStatus %d)", e.Call, e.Message, e.Code)
	}
	return fmt.Sprintf("%s: %s (%s %d)", e.Call, e.Message, e.Domain, e.Code)
}

// Is makes errors.Is find the same code and what e means.
func (e Error) Is(target error) bool {
	if other, ok := target.(Error); ok {
		return e.Domain == other.Domain && e.Code == other.Code
	}
	is := meanings[e.Domain][e.Code].is
	return is != nil && is == target
}

// Hint is found by [signer.Hint].
func (e Error) Hint() string { return meanings[e.Domain][e.Code].hint }

// asError makes the errors of the seam this package's.
func asError(err error) error {
	var e *native.Error
	if errors.As(err, &e) {
		return Error(*e)
	}
	return err
}

// A meaning is what an error is to callers and to people.
type meaning struct {
	is   error // nil: nothing that a caller can act on
	hint string
}

const (
	hintCanceled    = "run it again and answer the dialog of macOS"
	hintUnlock      = "run security unlock-keychain in this session, or run as a LaunchAgent of the logged-in user, not as a daemon or by ssh"
	hintPassword    = "check the password or PIN; by ssh or in a daemon unlock the keychain first with security unlock-keychain"
	hintEntitlement = "use a key of the login keychain or of a CryptoTokenKit token: those need no entitlement; see docs/keychain.md"
	hintNoKeychain  = "run as a user who has a login keychain and has logged in; security list-keychains shows what there is"
	hintToken       = "insert the card or token, and see that security list-smartcards shows it"
	hintTouchID     = "set up Touch ID and a password on this Mac, or use a key that does not ask for them"
)

// meanings is the one table from errors of macOS to ours, by domain and code:
// -4 is "not implemented", "canceled by the user" or "canceled by the system".
// Sources: SecBase.h, TKError.h and LAError.h.
var meanings = map[string]map[int]meaning{
	native.OSStatusDomain: {
		-4:     {errors.ErrUnsupported, "macOS does not do this with keys of this kind"},                                                   // errSecUnimplemented
		-50:    {nil, "this is a fault of Holdfast or of macOS; run again with Config.Logger and report it"},                               // errSecParam
		-128:   {signer.ErrPINRequired, hintCanceled},                                                                                      // errSecUserCanceled
		-2070:  {signer.ErrUnavailable, hintUnlock + "; if it is unlocked, let this program use the key: security set-key-partition-list"}, // errSecInternalComponent
		-25291: {signer.ErrUnavailable, hintNoKeychain},                                                                                    // errSecNotAvailable
		-25293: {signer.ErrPINIncorrect, hintPassword},                                                                                     // errSecAuthFailed
		-25294: {signer.ErrUnavailable, hintNoKeychain},                                                                                    // errSecNoSuchKeychain
		-25300: {signer.ErrNotFound, "the certificate is there without its private key: import the two together"},                          // errSecItemNotFound
		-25307: {signer.ErrUnavailable, hintNoKeychain},                                                                                    // errSecNoDefaultKeychain
		-25308: {signer.ErrPINRequired, hintUnlock},                                                                                        // errSecInteractionNotAllowed
		-25315: {signer.ErrPINRequired, hintUnlock},                                                                                        // errSecInteractionRequired
		-25320: {signer.ErrUnavailable, "the Mac is half asleep and shows no dialog; try again when it is awake"},                          // errSecInDarkWake
		-34018: {errors.ErrUnsupported, hintEntitlement},                                                                                   // errSecMissingEntitlement
	},
	"CryptoTokenKit": {
		-1: {errors.ErrUnsupported, "the token does not do this"},                                                              // TKErrorCodeNotImplemented
		-2: {signer.ErrUnavailable, hintToken},                                                                                 // TKErrorCodeCommunicationError
		-3: {signer.ErrUnavailable, hintToken},                                                                                 // TKErrorCodeCorruptedData
		-4: {signer.ErrPINRequired, hintCanceled},                                                                              // TKErrorCodeCanceledByUser
		-5: {signer.ErrPINIncorrect, "check the PIN; a few wrong ones lock the card"},                                          // TKErrorCodeAuthenticationFailed
		-6: {signer.ErrNotFound, hintToken},                                                                                    // TKErrorCodeObjectNotFound
		-7: {signer.ErrUnavailable, hintToken},                                                                                 // TKErrorCodeTokenNotFound
		-8: {errors.ErrUnsupported, "the token does not sign in this way"},                                                     // TKErrorCodeBadParameter
		-9: {signer.ErrPINRequired, "the token wants a PIN and nobody can be asked: run in the session of the logged-in user"}, // TKErrorCodeAuthenticationNeeded
	},
	"com.apple.LocalAuthentication": {
		-1:    {signer.ErrPINIncorrect, "try again: neither Touch ID nor the password was accepted"},                  // LAErrorAuthenticationFailed
		-2:    {signer.ErrPINRequired, hintCanceled},                                                                  // LAErrorUserCancel
		-3:    {signer.ErrPINRequired, hintCanceled},                                                                  // LAErrorUserFallback
		-4:    {signer.ErrPINRequired, hintCanceled},                                                                  // LAErrorSystemCancel
		-5:    {signer.ErrUnavailable, hintTouchID},                                                                   // LAErrorPasscodeNotSet
		-6:    {signer.ErrUnavailable, hintTouchID},                                                                   // LAErrorBiometryNotAvailable
		-7:    {signer.ErrUnavailable, hintTouchID},                                                                   // LAErrorBiometryNotEnrolled
		-8:    {signer.ErrPINLocked, "Touch ID is locked after wrong fingers: log in with the password to unlock it"}, // LAErrorBiometryLockout
		-9:    {signer.ErrPINRequired, hintCanceled},                                                                  // LAErrorAppCancel
		-1004: {signer.ErrPINRequired, hintUnlock},                                                                    // LAErrorNotInteractive
	},
}
