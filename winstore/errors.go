package winstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/signer"
)

// An Error is a Windows error code: a SECURITY_STATUS, an HRESULT, or a code of
// GetLastError, which is the number of a windows.Errno. errors.Is compares the
// code. It also matches the error of package signer, [errors.ErrUnsupported],
// [fs.ErrPermission] or [context.Canceled] that the code stands for, and
// [signer.ErrTryCounted] if the device has counted an incorrect PIN.
type Error uint32

// The codes that this package tests for, and those that are likely to occur.
// Source: winerror.h.
const (
	errFileNotFound   Error = 2
	errAccessDenied   Error = 5
	errInvalidHandle  Error = 6
	errNotEnoughRAM   Error = 8
	errNotSupported   Error = 50
	errInvalidParam   Error = 87
	errNoMoreFiles    Error = 18
	errNoMoreItems    Error = 259
	errCancelled      Error = 1223
	errNoSuchLogon    Error = 1312
	errServerDown     Error = 1722 // RPC_S_SERVER_UNAVAILABLE
	errSysNotReady    Error = 21
	errUnimplemented  Error = 0x20000027 // syscall.EINVAL of Go: the call failed without a code
	nteBadHash        Error = 0x80090002
	nteBadKey         Error = 0x80090003
	nteBadLen         Error = 0x80090004
	nteBadData        Error = 0x80090005
	nteBadAlgID       Error = 0x80090008
	nteBadFlags       Error = 0x80090009
	nteBadType        Error = 0x8009000a
	nteBadKeyState    Error = 0x8009000b
	nteNoKey          Error = 0x8009000d
	nteNoMemory       Error = 0x8009000e
	nteExists         Error = 0x8009000f
	ntePerm           Error = 0x80090010
	nteNotFound       Error = 0x80090011
	nteBadProvider    Error = 0x80090013
	nteBadProvType    Error = 0x80090014
	nteBadPublicKey   Error = 0x80090015
	nteBadKeyset      Error = 0x80090016
	nteProvTypeNotDef Error = 0x80090017
	nteKeysetNotDef   Error = 0x80090019
	nteKeysetEntryBad Error = 0x8009001a
	nteProvDLLFail    Error = 0x8009001d
	nteProvNotFound   Error = 0x8009001e
	nteFail           Error = 0x80090020
	nteSilentContext  Error = 0x80090022
	nteStorageFull    Error = 0x80090023
	nteTempProfile    Error = 0x80090024
	nteInvalidHandle  Error = 0x80090026
	nteInvalidParam   Error = 0x80090027
	nteBufferTooSmall Error = 0x80090028
	nteNotSupported   Error = 0x80090029
	nteInternalError  Error = 0x8009002d
	nteUIRequired     Error = 0x8009002e
	nteNotReady       Error = 0x80090030
	nteBadPassword    Error = 0x80090033
	nteDeviceNotFound Error = 0x80090035
	nteUserCancelled  Error = 0x80090036

	cryptNotFound      Error = 0x80092004
	cryptExists        Error = 0x80092005
	cryptNoKeyProperty Error = 0x8009200b
	cryptNoMatch       Error = 0x80092009

	scardCancelled       Error = 0x80100002
	scardTimeout         Error = 0x8010000a
	scardSharing         Error = 0x8010000b
	scardNoCard          Error = 0x8010000c
	scardNotReady        Error = 0x80100010
	scardReaderGone      Error = 0x80100017
	scardInvalidPIN      Error = 0x8010002a
	scardNoService       Error = 0x8010001d
	scardServiceStopped  Error = 0x8010001e
	scardNoReaders       Error = 0x8010002e
	scardCommLost        Error = 0x8010002f
	scardNoKeyContainer  Error = 0x80100030
	scardUnresponsive    Error = 0x80100066
	scardUnpowered       Error = 0x80100067
	scardReset           Error = 0x80100068
	scardRemoved         Error = 0x80100069
	scardSecurity        Error = 0x8010006a
	scardWrongPIN        Error = 0x8010006b
	scardPINBlocked      Error = 0x8010006c
	scardCancelledByUser Error = 0x8010006e
	scardNotAuthed       Error = 0x8010006f

	tbsTPMNotFound Error = 0x8028400f
	tpmLockout     Error = 0x80280921
	tpmAuthFail    Error = 0x8028008e
	tpmBadAuth     Error = 0x802800a2 // TPM_20_E_BAD_AUTH
	tpmNotReady    Error = 0x80290401 // TPM_E_PCP_DEVICE_NOT_READY
	tpmUnsupported Error = 0x80290404 // TPM_E_PCP_FLAG_NOT_SUPPORTED
)

// An errorKind is the meaning of a code.
type errorKind struct {
	text string
	is   *error // the variable of the error that errors.Is matches; nil: none
	hint string
}

const (
	hintAllowUI  = "add ui=allow to the reference to let Windows show a dialog; a service cannot show one"
	hintProvider = "create the key with another provider, for example " + softwareProvider
	hintCard     = "insert the card and check that certutil -scinfo shows it"
	hintAccess   = "run as a user with permission to use the key, or grant it in certlm.msc, All Tasks, Manage Private Keys"
	hintMissing  = "the certificate is in the store without its key: import both again, or run certutil -user -repairstore MY SERIAL (without -user for the store of the machine)"
	hintTPM      = "check the TPM in tpm.msc, or use provider=software for a key in software"
	hintReport   = "run it again with Config.Logger; if it fails again, report the log and this code"
	hintService  = "start the service: sc start SCardSvr"
	hintPIN      = "check the PIN; a few incorrect PINs block the card"
	hintUnblock  = "unblock the card with the tools of its vendor"
	hintName     = "choose another name for the attribute key, or delete the key: certutil -user -csp PROVIDER -delkey NAME (without -user for a key of the machine)"
	hintCancel   = "run it again and answer the dialog"
	hintProfile  = "log on with a full user profile, or use location=machine"
)

var errorKinds = lookup.Table[Error, errorKind]{
	{errFileNotFound, errorKind{"the store does not exist", &signer.ErrNotFound, "certutil -user -enumstore lists the stores of the user, certutil -enumstore those of the machine"}},
	{errAccessDenied, errorKind{"access denied", &fs.ErrPermission, hintAccess}},
	{errInvalidHandle, errorKind{"invalid handle", nil, hintReport}},
	{errNotEnoughRAM, errorKind{"out of memory", nil, ""}},
	{errNotSupported, errorKind{"not supported", &errors.ErrUnsupported, hintProvider}},
	{errInvalidParam, errorKind{"invalid parameter", nil, hintReport}},
	{errCancelled, errorKind{"canceled by the user", &context.Canceled, hintCancel}},
	{errNoSuchLogon, errorKind{"the logon session does not exist", &signer.ErrUnavailable, hintProfile}},
	{errServerDown, errorKind{"the key isolation service does not respond", &signer.ErrUnavailable, "start the service: sc start KeyIso"}},
	{errSysNotReady, errorKind{"the device is not ready", &signer.ErrUnavailable, hintCard}},
	{errUnimplemented, errorKind{"this version of Windows does not have the function", &errors.ErrUnsupported, hintProvider}},

	{nteBadHash, errorKind{"the provider rejected the hash", &errors.ErrUnsupported, hintProvider}},
	{nteBadKey, errorKind{"the provider rejected the key", nil, hintMissing}},
	{nteBadLen, errorKind{"the provider rejected the length", &errors.ErrUnsupported, hintProvider}},
	{nteBadData, errorKind{"the provider rejected the data", nil, hintReport}},
	{nteBadAlgID, errorKind{"the provider does not support the algorithm", &errors.ErrUnsupported, hintProvider}},
	{nteBadFlags, errorKind{"the provider does not support the flags", &errors.ErrUnsupported, hintProvider}},
	{nteBadType, errorKind{"the provider does not support the type", &errors.ErrUnsupported, hintProvider}},
	{nteBadKeyState, errorKind{"the key does not permit this operation", &errors.ErrUnsupported, "use a key that was created for signing"}},
	{nteNoKey, errorKind{"the key container does not contain the key", &signer.ErrNotFound, hintMissing}},
	{nteNoMemory, errorKind{"out of memory", nil, ""}},
	{nteExists, errorKind{"a key with this name already exists", nil, hintName}},
	{ntePerm, errorKind{"access to the key denied", &fs.ErrPermission, hintAccess}},
	{nteNotFound, errorKind{"the provider did not find the object", &signer.ErrNotFound, hintMissing}},
	{nteBadProvider, errorKind{"the provider is not valid", &signer.ErrUnavailable, "certutil -csplist lists the providers"}},
	{nteBadProvType, errorKind{"the provider type is not valid", &signer.ErrUnavailable, "certutil -csplist lists the providers"}},
	{nteBadPublicKey, errorKind{"the certificate is for another key", &signer.ErrMismatch, hintMissing}},
	{nteBadKeyset, errorKind{"the key does not exist", &signer.ErrNotFound, hintMissing}},
	{nteProvTypeNotDef, errorKind{"the provider type does not exist", &signer.ErrUnavailable, "certutil -csplist lists the providers"}},
	{nteKeysetNotDef, errorKind{"the provider does not exist", &signer.ErrUnavailable, "certutil -csplist lists the providers"}},
	{nteKeysetEntryBad, errorKind{"the key is damaged", &signer.ErrUnavailable, hintMissing}},
	{nteProvDLLFail, errorKind{"the provider cannot be loaded", &signer.ErrUnavailable, "reinstall the vendor's software for this processor architecture"}},
	{nteProvNotFound, errorKind{"the provider is not installed", &signer.ErrUnavailable, "install the vendor's software"}},
	{nteFail, errorKind{"the provider failed", nil, hintReport}},
	{nteSilentContext, errorKind{"the key needs a dialog, which is not allowed", &signer.ErrPINRequired, hintAllowUI}},
	{nteStorageFull, errorKind{"the device is full", &signer.ErrUnavailable, "delete a key that is no longer needed"}},
	{nteTempProfile, errorKind{"the user has a temporary profile", &signer.ErrUnavailable, hintProfile}},
	{nteInvalidHandle, errorKind{"the key is no longer available", &signer.ErrUnavailable, hintCard}},
	{nteInvalidParam, errorKind{"the provider rejected a parameter", &errors.ErrUnsupported, hintProvider}},
	{nteBufferTooSmall, errorKind{"the signature is longer than expected", nil, hintReport}},
	{nteNotSupported, errorKind{"the provider does not support the operation", &errors.ErrUnsupported, hintProvider}},
	{nteInternalError, errorKind{"internal error of the provider", nil, hintReport}},
	{nteUIRequired, errorKind{"the key needs a dialog, which is not allowed", &signer.ErrPINRequired, hintAllowUI}},
	{nteNotReady, errorKind{"the device is not ready", &signer.ErrUnavailable, hintTPM}},
	{nteBadPassword, errorKind{"incorrect PIN or password", &signer.ErrPINIncorrect, hintPIN}},
	{nteDeviceNotFound, errorKind{"the device does not exist", &signer.ErrUnavailable, hintTPM}},
	{nteUserCancelled, errorKind{"canceled by the user", &context.Canceled, hintCancel}},

	{cryptNotFound, errorKind{"not found", &signer.ErrNotFound, hintMissing}},
	{cryptExists, errorKind{"already exists", nil, hintName}},
	{cryptNoKeyProperty, errorKind{"the certificate has no associated private key", &signer.ErrNotFound, hintMissing}},
	{cryptNoMatch, errorKind{"no match", &signer.ErrNotFound, hintMissing}},

	{scardCancelled, errorKind{"canceled", &context.Canceled, hintCancel}},
	{scardTimeout, errorKind{"the smart card reader timed out", &signer.ErrUnavailable, hintCard}},
	{scardSharing, errorKind{"another program is using the smart card", &signer.ErrUnavailable, "close the other program"}},
	{scardNoCard, errorKind{"no smart card in the reader", &signer.ErrUnavailable, hintCard}},
	{scardNotReady, errorKind{"the smart card reader is not ready", &signer.ErrUnavailable, hintCard}},
	{scardReaderGone, errorKind{"the smart card reader is not available", &signer.ErrUnavailable, hintCard}},
	{scardNoService, errorKind{"the smart card service is not running", &signer.ErrUnavailable, hintService}},
	{scardServiceStopped, errorKind{"the smart card service was stopped", &signer.ErrUnavailable, hintService}},
	{scardNoReaders, errorKind{"no smart card reader", &signer.ErrUnavailable, hintCard}},
	{scardCommLost, errorKind{"the communication with the smart card was lost", &signer.ErrUnavailable, hintCard}},
	{scardNoKeyContainer, errorKind{"the smart card does not contain the key", &signer.ErrNotFound, hintCard}},
	{scardUnresponsive, errorKind{"the smart card does not respond", &signer.ErrUnavailable, hintCard}},
	{scardUnpowered, errorKind{"the smart card has no power", &signer.ErrUnavailable, hintCard}},
	{scardReset, errorKind{"the smart card was reset", &signer.ErrUnavailable, hintCard}},
	{scardRemoved, errorKind{"the smart card was removed", &signer.ErrUnavailable, hintCard}},
	{scardSecurity, errorKind{"the smart card denied access", &signer.ErrPINRequired, hintAllowUI}},
	{scardInvalidPIN, errorKind{"the PIN is not valid for the smart card", &signer.ErrPINIncorrect, hintPIN}},
	{scardWrongPIN, errorKind{"incorrect PIN", &signer.ErrPINIncorrect, hintPIN}},
	{scardPINBlocked, errorKind{"the PIN is blocked", &signer.ErrPINLocked, hintUnblock}},
	{scardCancelledByUser, errorKind{"canceled by the user", &context.Canceled, hintCancel}},
	{scardNotAuthed, errorKind{"the smart card requires a PIN", &signer.ErrPINRequired, hintAllowUI}},

	{tbsTPMNotFound, errorKind{"no TPM found", &signer.ErrUnavailable, hintTPM}},
	{tpmLockout, errorKind{"the TPM is locked after incorrect PINs", &signer.ErrPINLocked, "wait and try again, or see tpm.msc"}},
	{tpmAuthFail, errorKind{"incorrect PIN, and the TPM counted the try", &signer.ErrPINIncorrect, "check the PIN; after several incorrect ones, the TPM locks for some time"}},
	{tpmBadAuth, errorKind{"incorrect PIN", &signer.ErrPINIncorrect, "check the PIN"}},
	{tpmNotReady, errorKind{"the TPM is not ready", &signer.ErrUnavailable, hintTPM}},
	{tpmUnsupported, errorKind{"the TPM does not support the operation", &errors.ErrUnsupported, hintTPM}},
}

func (e Error) Error() string {
	code := fmt.Sprintf("0x%08x", uint32(e))
	if e < 0x10000 {
		code = fmt.Sprint(uint32(e))
	}
	if k, ok := errorKinds.Find(e); ok {
		return fmt.Sprintf("%s (Windows error %s)", k.text, code)
	}
	return "Windows error " + code
}

// counted are the codes after which a device has counted an incorrect PIN. A
// locked TPM and a PIN of the wrong length or form are not counted.
var counted = []Error{scardWrongPIN, scardPINBlocked, nteBadPassword, tpmAuthFail}

// Is reports whether e stands for target, in addition to equal codes.
func (e Error) Is(target error) bool {
	if target == signer.ErrTryCounted {
		return slices.Contains(counted, e)
	}
	k, ok := errorKinds.Find(e)
	return ok && k.is != nil && *k.is == target
}

// Hint is found by [signer.Hint].
func (e Error) Hint() string { return errorKinds.Get(e).hint }
