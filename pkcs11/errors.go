package pkcs11

import (
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/signer"
)

// An Error is a return value of a Cryptoki function (CKR_…). errors.Is compares
// it by number. It also matches the corresponding error of package signer, or
// [errors.ErrUnsupported].
type Error uint

// The return values that this package handles or explains. Source: PKCS #11
// v3.1, section 5.1, and pkcs11t.h.
const (
	ckrHostMemory             Error = 0x02
	ckrSlotIDInvalid          Error = 0x03
	ckrGeneralError           Error = 0x05
	ckrFunctionFailed         Error = 0x06
	ckrAttributeSensitive     Error = 0x11
	ckrAttributeTypeInvalid   Error = 0x12
	ckrDeviceError            Error = 0x30
	ckrDeviceMemory           Error = 0x31
	ckrDeviceRemoved          Error = 0x32
	ckrFunctionNotSupported   Error = 0x54
	ckrKeyHandleInvalid       Error = 0x60
	ckrKeyTypeInconsistent    Error = 0x63
	ckrKeyFunctionNotPermit   Error = 0x68
	ckrMechanismInvalid       Error = 0x70
	ckrMechanismParamInvalid  Error = 0x71
	ckrObjectHandleInvalid    Error = 0x82
	ckrOperationActive        Error = 0x90
	ckrOperationNotInit       Error = 0x91
	ckrPINIncorrect           Error = 0xa0
	ckrPINInvalid             Error = 0xa1
	ckrPINLenRange            Error = 0xa2
	ckrPINExpired             Error = 0xa3
	ckrPINLocked              Error = 0xa4
	ckrSessionClosed          Error = 0xb0
	ckrSessionCount           Error = 0xb1
	ckrSessionHandleInvalid   Error = 0xb3
	ckrTokenNotPresent        Error = 0xe0
	ckrTokenNotRecognized     Error = 0xe1
	ckrTokenWriteProtected    Error = 0xe2
	ckrUserAlreadyLoggedIn    Error = 0x100
	ckrUserNotLoggedIn        Error = 0x101
	ckrUserPINNotInit         Error = 0x102
	ckrUserAnotherLoggedIn    Error = 0x104
	ckrBufferTooSmall         Error = 0x150
	ckrCryptokiNotInitialized Error = 0x190
	ckrCryptokiAlreadyInit    Error = 0x191
)

// An errorKind explains a return value to users and callers.
type errorKind struct {
	text string
	is   *error // the variable of the error that errors.Is matches; nil: none
	lost bool   // the session or the token is lost; a new session may work
}

var errorKinds = lookup.Table[Error, errorKind]{
	{ckrHostMemory, errorKind{"out of memory", nil, false}},
	{ckrSlotIDInvalid, errorKind{"slot no longer exists", &signer.ErrUnavailable, true}},
	{ckrGeneralError, errorKind{"general error", &signer.ErrUnavailable, true}},
	{ckrFunctionFailed, errorKind{"function failed", nil, false}},
	{ckrDeviceError, errorKind{"device error", &signer.ErrUnavailable, true}},
	{ckrDeviceMemory, errorKind{"device is out of memory", &signer.ErrUnavailable, false}},
	{ckrDeviceRemoved, errorKind{"device was removed", &signer.ErrUnavailable, true}},
	{ckrFunctionNotSupported, errorKind{"function not supported by the module", &errors.ErrUnsupported, false}},
	{ckrKeyHandleInvalid, errorKind{"key no longer exists", &signer.ErrUnavailable, true}},
	{ckrKeyTypeInconsistent, errorKind{"key type does not match the mechanism", &errors.ErrUnsupported, false}},
	{ckrKeyFunctionNotPermit, errorKind{"key is not permitted to sign", &errors.ErrUnsupported, false}},
	{ckrMechanismInvalid, errorKind{"mechanism not supported by the token", &errors.ErrUnsupported, false}},
	{ckrMechanismParamInvalid, errorKind{"mechanism parameter not supported by the token", &errors.ErrUnsupported, false}},
	{ckrObjectHandleInvalid, errorKind{"object no longer exists", &signer.ErrUnavailable, true}},
	{ckrOperationActive, errorKind{"another operation is active in the session", nil, true}},
	{ckrOperationNotInit, errorKind{"operation was terminated", nil, true}},
	{ckrPINIncorrect, errorKind{"PIN incorrect", &signer.ErrPINIncorrect, false}},
	{ckrPINInvalid, errorKind{"PIN contains characters that the token does not accept", &signer.ErrPINIncorrect, false}},
	{ckrPINLenRange, errorKind{"PIN is too short or too long", &signer.ErrPINIncorrect, false}},
	{ckrPINExpired, errorKind{"PIN expired", &signer.ErrPINLocked, false}},
	{ckrPINLocked, errorKind{"PIN locked", &signer.ErrPINLocked, false}},
	{ckrSessionClosed, errorKind{"session was closed", &signer.ErrUnavailable, true}},
	{ckrSessionCount, errorKind{"too many sessions", &signer.ErrUnavailable, true}},
	{ckrSessionHandleInvalid, errorKind{"session no longer exists", &signer.ErrUnavailable, true}},
	{ckrTokenNotPresent, errorKind{"token is not present", &signer.ErrUnavailable, true}},
	{ckrTokenNotRecognized, errorKind{"token is not recognized", &signer.ErrUnavailable, false}},
	{ckrTokenWriteProtected, errorKind{"token is write-protected", &errors.ErrUnsupported, false}},
	{ckrUserNotLoggedIn, errorKind{"not logged in", &signer.ErrPINRequired, true}},
	{ckrUserPINNotInit, errorKind{"the user PIN is not set", &signer.ErrPINRequired, false}},
	{ckrUserAnotherLoggedIn, errorKind{"the security officer is logged in", &signer.ErrUnavailable, false}},
	{ckrCryptokiNotInitialized, errorKind{"module was finalized", &signer.ErrUnavailable, true}},
}

func (e Error) Error() string {
	if k, ok := errorKinds.Find(e); ok {
		return fmt.Sprintf("%s (CKR 0x%x)", k.text, uint(e))
	}
	return fmt.Sprintf("the module returned CKR 0x%x", uint(e))
}

// Is reports whether target is the error that corresponds to e, for
// [errors.Is].
func (e Error) Is(target error) bool {
	k, ok := errorKinds.Find(e)
	return ok && k.is != nil && *k.is == target
}

var errorHints = lookup.Table[Error, string]{
	{ckrCryptokiNotInitialized, "another part of this program has finalized the module: open the key again, and let only one library of a program use a module"},
	{ckrKeyFunctionNotPermit, "use a key with the attribute CKA_SIGN; this creates one: pkcs11-tool --module PATH --login --keypairgen --key-type EC:prime256v1 --usage-sign --label NAME"},
	{ckrUserPINNotInit, "set the user PIN as the security officer: pkcs11-tool --module PATH --login --login-type so --init-pin"},
}

// Hint returns the hint for [signer.Hint].
func (e Error) Hint() string { return errorHints.Get(e) }

// errLogin marks an error of C_Login after which the token may have received
// the PIN.
var errLogin = errors.New("login")

// lost reports whether a new session may succeed after err. It is false for all
// errors of a login: another login would send the PIN again, although the token
// may have counted it as incorrect.
func lost(err error) bool {
	var e Error
	return errors.As(err, &e) && errorKinds.Get(e).lost && !errors.Is(err, errLogin)
}

// lostWhileReading is like lost, for errors of reading objects. It is false for
// CKR_GENERAL_ERROR: OpenSC 0.23 returns it for a removed card, but a module
// can also return it for one object although it can read the others.
func lostWhileReading(err error) bool { return lost(err) && !errors.Is(err, ckrGeneralError) }
