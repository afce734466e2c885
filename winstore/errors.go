package winstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

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
	is   error // the error that errors.Is matches; nil: none
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

var errorKinds = map[Error]errorKind{
	errFileNotFound:  {"the store does not exist", signer.ErrNotFound, "certutil -user -enumstore lists the stores of the user, certutil -enumstore those of the machine"},
	errAccessDenied:  {"access denied", fs.ErrPermission, hintAccess},
	errInvalidHandle: {"invalid handle", nil, hintReport},
	errNotEnoughRAM:  {"out of memory", nil, ""},
	errNotSupported:  {"not supported", errors.ErrUnsupported, hintProvider},
	errInvalidParam:  {"invalid parameter", nil, hintReport},
	errCancelled:     {"canceled by the user", context.Canceled, hintCancel},
	errNoSuchLogon:   {"the logon session does not exist", signer.ErrUnavailable, hintProfile},
	errServerDown:    {"the key isolation service does not respond", signer.ErrUnavailable, "start the service: sc start KeyIso"},
	errSysNotReady:   {"the device is not ready", signer.ErrUnavailable, hintCard},
	errUnimplemented: {"this version of Windows does not have the function", errors.ErrUnsupported, hintProvider},

	nteBadHash:        {"the provider rejected the hash", errors.ErrUnsupported, hintProvider},
	nteBadKey:         {"the provider rejected the key", nil, hintMissing},
	nteBadLen:         {"the provider rejected the length", errors.ErrUnsupported, hintProvider},
	nteBadData:        {"the provider rejected the data", nil, hintReport},
	nteBadAlgID:       {"the provider does not support the algorithm", errors.ErrUnsupported, hintProvider},
	nteBadFlags:       {"the provider does not support the flags", errors.ErrUnsupported, hintProvider},
	nteBadType:        {"the provider does not support the type", errors.ErrUnsupported, hintProvider},
	nteBadKeyState:    {"the key does not permit this operation", errors.ErrUnsupported, "use a key that was created for signing"},
	nteNoKey:          {"the key container does not contain the key", signer.ErrNotFound, hintMissing},
	nteNoMemory:       {"out of memory", nil, ""},
	nteExists:         {"a key with this name already exists", nil, hintName},
	ntePerm:           {"access to the key denied", fs.ErrPermission, hintAccess},
	nteNotFound:       {"the provider did not find the object", signer.ErrNotFound, hintMissing},
	nteBadProvider:    {"the provider is not valid", signer.ErrUnavailable, "certutil -csplist lists the providers"},
	nteBadProvType:    {"the provider type is not valid", signer.ErrUnavailable, "certutil -csplist lists the providers"},
	nteBadPublicKey:   {"the certificate is for another key", signer.ErrMismatch, hintMissing},
	nteBadKeyset:      {"the key does not exist", signer.ErrNotFound, hintMissing},
	nteProvTypeNotDef: {"the provider type does not exist", signer.ErrUnavailable, "certutil -csplist lists the providers"},
	nteKeysetNotDef:   {"the provider does not exist", signer.ErrUnavailable, "certutil -csplist lists the providers"},
	nteKeysetEntryBad: {"the key is damaged", signer.ErrUnavailable, hintMissing},
	nteProvDLLFail:    {"the provider cannot be loaded", signer.ErrUnavailable, "reinstall the vendor's software for this processor architecture"},
	nteProvNotFound:   {"the provider is not installed", signer.ErrUnavailable, "install the vendor's software"},
	nteFail:           {"the provider failed", nil, hintReport},
	nteSilentContext:  {"the key needs a dialog, which is not allowed", signer.ErrPINRequired, hintAllowUI},
	nteStorageFull:    {"the device is full", signer.ErrUnavailable, "delete a key that is no longer needed"},
	nteTempProfile:    {"the user has a temporary profile", signer.ErrUnavailable, hintProfile},
	nteInvalidHandle:  {"the key is no longer available", signer.ErrUnavailable, hintCard},
	nteInvalidParam:   {"the provider rejected a parameter", errors.ErrUnsupported, hintProvider},
	nteBufferTooSmall: {"the signature is longer than expected", nil, hintReport},
	nteNotSupported:   {"the provider does not support the operation", errors.ErrUnsupported, hintProvider},
	nteInternalError:  {"internal error of the provider", nil, hintReport},
	nteUIRequired:     {"the key needs a dialog, which is not allowed", signer.ErrPINRequired, hintAllowUI},
	nteNotReady:       {"the device is not ready", signer.ErrUnavailable, hintTPM},
	nteBadPassword:    {"incorrect PIN or password", signer.ErrPINIncorrect, hintPIN},
	nteDeviceNotFound: {"the device does not exist", signer.ErrUnavailable, hintTPM},
	nteUserCancelled:  {"canceled by the user", context.Canceled, hintCancel},

	cryptNotFound:      {"not found", signer.ErrNotFound, hintMissing},
	cryptExists:        {"already exists", nil, hintName},
	cryptNoKeyProperty: {"the certificate has no associated private key", signer.ErrNotFound, hintMissing},
	cryptNoMatch:       {"no match", signer.ErrNotFound, hintMissing},

	scardCancelled:       {"canceled", context.Canceled, hintCancel},
	scardTimeout:         {"the smart card reader timed out", signer.ErrUnavailable, hintCard},
	scardSharing:         {"another program is using the smart card", signer.ErrUnavailable, "close the other program"},
	scardNoCard:          {"no smart card in the reader", signer.ErrUnavailable, hintCard},
	scardNotReady:        {"the smart card reader is not ready", signer.ErrUnavailable, hintCard},
	scardReaderGone:      {"the smart card reader is not available", signer.ErrUnavailable, hintCard},
	scardNoService:       {"the smart card service is not running", signer.ErrUnavailable, hintService},
	scardServiceStopped:  {"the smart card service was stopped", signer.ErrUnavailable, hintService},
	scardNoReaders:       {"no smart card reader", signer.ErrUnavailable, hintCard},
	scardCommLost:        {"the communication with the smart card was lost", signer.ErrUnavailable, hintCard},
	scardNoKeyContainer:  {"the smart card does not contain the key", signer.ErrNotFound, hintCard},
	scardUnresponsive:    {"the smart card does not respond", signer.ErrUnavailable, hintCard},
	scardUnpowered:       {"the smart card has no power", signer.ErrUnavailable, hintCard},
	scardReset:           {"the smart card was reset", signer.ErrUnavailable, hintCard},
	scardRemoved:         {"the smart card was removed", signer.ErrUnavailable, hintCard},
	scardSecurity:        {"the smart card denied access", signer.ErrPINRequired, hintAllowUI},
	scardInvalidPIN:      {"the PIN is not valid for the smart card", signer.ErrPINIncorrect, hintPIN},
	scardWrongPIN:        {"incorrect PIN", signer.ErrPINIncorrect, hintPIN},
	scardPINBlocked:      {"the PIN is blocked", signer.ErrPINLocked, hintUnblock},
	scardCancelledByUser: {"canceled by the user", context.Canceled, hintCancel},
	scardNotAuthed:       {"the smart card requires a PIN", signer.ErrPINRequired, hintAllowUI},

	tbsTPMNotFound: {"no TPM found", signer.ErrUnavailable, hintTPM},
	tpmLockout:     {"the TPM is locked after incorrect PINs", signer.ErrPINLocked, "wait and try again, or see tpm.msc"},
	tpmAuthFail:    {"incorrect PIN, and the TPM counted the try", signer.ErrPINIncorrect, "check the PIN; after several incorrect ones, the TPM locks for some time"},
	tpmBadAuth:     {"incorrect PIN", signer.ErrPINIncorrect, "check the PIN"},
	tpmNotReady:    {"the TPM is not ready", signer.ErrUnavailable, hintTPM},
	tpmUnsupported: {"the TPM does not support the operation", errors.ErrUnsupported, hintTPM},
}

func (e Error) Error() string {
	code := fmt.Sprintf("0x%08x", uint32(e))
	if e < 0x10000 {
		code = fmt.Sprint(uint32(e))
	}
	if k, ok := errorKinds[e]; ok {
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
	k, ok := errorKinds[e]
	return ok && k.is != nil && k.is == target
}

// Hint is found by [signer.Hint].
func (e Error) Hint() string { return errorKinds[e].hint }
