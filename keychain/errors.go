package keychain

import (
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/keychain/internal/native"
	"github.com/holdfast-dev/holdfast/signer"
)

// An Error is an error of macOS: an OSStatus, or a CFError of Security.framework,
// CryptoTokenKit or LocalAuthentication. errors.Is compares Domain and Code. It
// also matches the error of package signer or [errors.ErrUnsupported] that the
// code stands for.
type Error struct {
	Call    string // the function that failed, such as "SecKeyCreateSignature"
	Domain  string // such as "NSOSStatusErrorDomain"; "" if macOS gave no reason
	Code    int    // depends on the domain
	Message string // of macOS, in the language of the user
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

// Is reports whether target has the same domain and code, or e stands for it.
func (e Error) Is(target error) bool {
	if other, ok := target.(Error); ok {
		return e.Domain == other.Domain && e.Code == other.Code
	}
	is := meanings.Get(e.Domain).Get(e.Code).is
	return is != nil && *is == target
}

// Hint is found by [signer.Hint].
func (e Error) Hint() string { return meanings.Get(e.Domain).Get(e.Code).hint }

// asError converts a [native.Error] to an [Error]. It returns other errors
// unchanged.
func asError(err error) error {
	var e *native.Error
	if errors.As(err, &e) {
		return Error(*e)
	}
	return err
}

// A meaning is the meaning of a code.
type meaning struct {
	is   *error // the variable of the error that errors.Is matches; nil: none
	hint string
}

const (
	hintCanceled    = "run it again and answer the dialog of macOS"
	hintUnlock      = "run security unlock-keychain in this session, or run as a LaunchAgent of the logged-in user instead of a daemon or an SSH session"
	hintPassword    = "check the password or PIN; in an SSH session or a daemon, run security unlock-keychain first"
	hintEntitlement = "use a key in the login keychain or on a CryptoTokenKit token, which needs no entitlement; see docs/keychain.md"
	hintNoKeychain  = "run as a logged-in user with a login keychain; security list-keychains lists the keychains"
	hintToken       = "insert the card or token and check that security list-smartcards shows it"
	hintTouchID     = "set up Touch ID and a password on this Mac, or use a key that does not require them"
)

// meanings has the meanings of the error codes of macOS, by domain. A code can
// mean something else in each domain: -4 is "not implemented", "canceled by the
// user" or "canceled by the system". Sources: SecBase.h, TKError.h and LAError.h.
var meanings = lookup.Table[string, lookup.Table[int, meaning]]{
	{native.OSStatusDomain, lookup.Table[int, meaning]{
		{-4, meaning{&errors.ErrUnsupported, "macOS does not support this operation for this type of key"}},                                                  // errSecUnimplemented
		{-50, meaning{nil, "this is a bug in Holdfast or macOS: run it again with Config.Logger and report it"}},                                             // errSecParam
		{-128, meaning{&signer.ErrPINRequired, hintCanceled}},                                                                                                // errSecUserCanceled
		{-2070, meaning{&signer.ErrUnavailable, hintUnlock + "; if the keychain is unlocked, allow access to the key with security set-key-partition-list"}}, // errSecInternalComponent
		{-25291, meaning{&signer.ErrUnavailable, hintNoKeychain}},                                                                                            // errSecNotAvailable
		{-25293, meaning{&signer.ErrPINIncorrect, hintPassword}},                                                                                             // errSecAuthFailed
		{-25294, meaning{&signer.ErrUnavailable, hintNoKeychain}},                                                                                            // errSecNoSuchKeychain
		{-25300, meaning{&signer.ErrNotFound, "the private key is missing: import it together with its certificate"}},                                        // errSecItemNotFound
		{-25307, meaning{&signer.ErrUnavailable, hintNoKeychain}},                                                                                            // errSecNoDefaultKeychain
		{-25308, meaning{&signer.ErrPINRequired, hintUnlock}},                                                                                                // errSecInteractionNotAllowed
		{-25315, meaning{&signer.ErrPINRequired, hintUnlock}},                                                                                                // errSecInteractionRequired
		{-25320, meaning{&signer.ErrUnavailable, "the Mac is in dark wake and cannot show a dialog: try again when it is awake"}},                            // errSecInDarkWake
		{-34018, meaning{&errors.ErrUnsupported, hintEntitlement}},                                                                                           // errSecMissingEntitlement
	}},
	{"CryptoTokenKit", lookup.Table[int, meaning]{
		{-1, meaning{&errors.ErrUnsupported, "the token does not support this operation"}},                                                        // TKErrorCodeNotImplemented
		{-2, meaning{&signer.ErrUnavailable, hintToken}},                                                                                          // TKErrorCodeCommunicationError
		{-3, meaning{&signer.ErrUnavailable, hintToken}},                                                                                          // TKErrorCodeCorruptedData
		{-4, meaning{&signer.ErrPINRequired, hintCanceled}},                                                                                       // TKErrorCodeCanceledByUser
		{-5, meaning{&signer.ErrPINIncorrect, "check the PIN; a few incorrect PINs lock the card"}},                                               // TKErrorCodeAuthenticationFailed
		{-6, meaning{&signer.ErrNotFound, hintToken}},                                                                                             // TKErrorCodeObjectNotFound
		{-7, meaning{&signer.ErrUnavailable, hintToken}},                                                                                          // TKErrorCodeTokenNotFound
		{-8, meaning{&errors.ErrUnsupported, "the token does not support this signature algorithm"}},                                              // TKErrorCodeBadParameter
		{-9, meaning{&signer.ErrPINRequired, "the token requires a PIN and no dialog can be shown: run it in the session of the logged-in user"}}, // TKErrorCodeAuthenticationNeeded
	}},
	{"com.apple.LocalAuthentication", lookup.Table[int, meaning]{
		{-1, meaning{&signer.ErrPINIncorrect, "try again: Touch ID or the password was not accepted"}},                                  // LAErrorAuthenticationFailed
		{-2, meaning{&signer.ErrPINRequired, hintCanceled}},                                                                             // LAErrorUserCancel
		{-3, meaning{&signer.ErrPINRequired, hintCanceled}},                                                                             // LAErrorUserFallback
		{-4, meaning{&signer.ErrPINRequired, hintCanceled}},                                                                             // LAErrorSystemCancel
		{-5, meaning{&signer.ErrUnavailable, hintTouchID}},                                                                              // LAErrorPasscodeNotSet
		{-6, meaning{&signer.ErrUnavailable, hintTouchID}},                                                                              // LAErrorBiometryNotAvailable
		{-7, meaning{&signer.ErrUnavailable, hintTouchID}},                                                                              // LAErrorBiometryNotEnrolled
		{-8, meaning{&signer.ErrPINLocked, "Touch ID is locked after too many failed attempts: log in with the password to unlock it"}}, // LAErrorBiometryLockout
		{-9, meaning{&signer.ErrPINRequired, hintCanceled}},                                                                             // LAErrorAppCancel
		{-1004, meaning{&signer.ErrPINRequired, hintUnlock}},                                                                            // LAErrorNotInteractive
	}},
}
