package winstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/holdfast-dev/holdfast/signer"
)

// An Error is an error code of Windows: a SECURITY_STATUS, an HRESULT or what
// GetLastError returns, which is the number of a windows.Errno. errors.Is compares
// it, and finds the errors of package signer, [errors.ErrUnsupported],
// [fs.ErrPermission] and [context.Canceled] behind it.
type Error uint32

// The codes that decide something here, or that people meet. Source: winerror.h.
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
	errUnimplemented  Error = 0x20000027 // syscall.EINVAL of Go: a call that failed and set no code
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
	tpmNotReady    Error = 0x80290401 // TPM_E_PCP_DEVICE_NOT_READY
	tpmUnsupported Error = 0x80290404 // TPM_E_PCP_FLAG_NOT_SUPPORTED
)

// An errorKind says what a code means to people and to callers.
type errorKind struct {
	text string
	is   error // nil: nothing that a caller can act on
	hint string
}

const (
	hintAllowUI  = "add ui=allow to the reference, so that Windows may ask; a service has nobody to ask"
	hintProvider = "make the key with another provider, such as " + softwareProvider
	hintCard     = "put the card in, and check that certutil -scinfo finds it"
	hintAccess   = "run as a user who may use the key; certlm.msc, All Tasks, Manage Private Keys gives others the right"
	hintMissing  = "the certificate is there and its key is not: import both again, or certutil -repairstore MY SERIAL"
	hintTPM      = "see tpm.msc; for a key in software write provider=software"
	hintReport   = "run again with Config.Logger; if it stays, report it with this code"
	hintService  = "start the service: sc start SCardSvr"
	hintPIN      = "check the PIN; a card is blocked after a few wrong ones"
	hintUnblock  = "unblock the card with the tools of its vendor"
	hintName     = "choose another key= name, or delete the key: certutil -csp PROVIDER -delkey NAME"
	hintCancel   = "run it again and answer the dialog"
	hintProfile  = "log on with a full profile, or use location=machine"
)

var errorKinds = map[Error]errorKind{
	errFileNotFound:  {"no such store", signer.ErrNotFound, "certutil -enumstore lists the stores"},
	errAccessDenied:  {"access denied", fs.ErrPermission, hintAccess},
	errInvalidHandle: {"handle is not valid", nil, hintReport},
	errNotEnoughRAM:  {"out of memory", nil, ""},
	errNotSupported:  {"not supported", errors.ErrUnsupported, hintProvider},
	errInvalidParam:  {"parameter refused", nil, hintReport},
	errCancelled:     {"cancelled by the user", context.Canceled, hintCancel},
	errNoSuchLogon:   {"the logon session does not exist", signer.ErrUnavailable, hintProfile},
	errServerDown:    {"the key isolation service does not answer", signer.ErrUnavailable, "start it: sc start KeyIso"},
	errSysNotReady:   {"device is not ready", signer.ErrUnavailable, hintCard},
	errUnimplemented: {"this Windows does not have the function", errors.ErrUnsupported, hintProvider},

	nteBadHash:        {"hash refused by the provider", errors.ErrUnsupported, hintProvider},
	nteBadKey:         {"key refused by the provider", nil, hintMissing},
	nteBadLen:         {"length refused by the provider", errors.ErrUnsupported, hintProvider},
	nteBadData:        {"data refused by the provider", nil, hintReport},
	nteBadAlgID:       {"algorithm not supported by the provider", errors.ErrUnsupported, hintProvider},
	nteBadFlags:       {"flags not supported by the provider", errors.ErrUnsupported, hintProvider},
	nteBadType:        {"type not supported by the provider", errors.ErrUnsupported, hintProvider},
	nteBadKeyState:    {"key may not be used for this", errors.ErrUnsupported, "take a key that was made to sign"},
	nteNoKey:          {"key container has no such key", signer.ErrNotFound, hintMissing},
	nteNoMemory:       {"out of memory", nil, ""},
	nteExists:         {"a key of that name exists already", nil, hintName},
	ntePerm:           {"access to the key denied", fs.ErrPermission, hintAccess},
	nteNotFound:       {"not found by the provider", signer.ErrNotFound, hintMissing},
	nteBadProvider:    {"provider is not valid", signer.ErrUnavailable, "certutil -csplist lists the providers"},
	nteBadProvType:    {"provider type is not valid", signer.ErrUnavailable, "certutil -csplist lists the providers"},
	nteBadPublicKey:   {"the certificate's key is another one", signer.ErrMismatch, hintMissing},
	nteBadKeyset:      {"key does not exist", signer.ErrNotFound, hintMissing},
	nteProvTypeNotDef: {"provider type is not there", signer.ErrUnavailable, "certutil -csplist lists the providers"},
	nteKeysetNotDef:   {"provider is not there", signer.ErrUnavailable, "certutil -csplist lists the providers"},
	nteKeysetEntryBad: {"key is damaged", signer.ErrUnavailable, hintMissing},
	nteProvDLLFail:    {"provider cannot be loaded", signer.ErrUnavailable, "install the vendor's software again, for this processor"},
	nteProvNotFound:   {"provider is not there", signer.ErrUnavailable, "install the vendor's software"},
	nteFail:           {"provider failed", nil, hintReport},
	nteSilentContext:  {"the key wants to ask, and may not", signer.ErrPINRequired, hintAllowUI},
	nteStorageFull:    {"device is full", signer.ErrUnavailable, "delete a key that is not needed"},
	nteTempProfile:    {"the user has a temporary profile", signer.ErrUnavailable, hintProfile},
	nteInvalidHandle:  {"key is gone", signer.ErrUnavailable, hintCard},
	nteInvalidParam:   {"parameter refused by the provider", errors.ErrUnsupported, hintProvider},
	nteBufferTooSmall: {"signature is longer than it should be", nil, hintReport},
	nteNotSupported:   {"not supported by the provider", errors.ErrUnsupported, hintProvider},
	nteInternalError:  {"provider failed", nil, hintReport},
	nteUIRequired:     {"the key wants to ask, and may not", signer.ErrPINRequired, hintAllowUI},
	nteNotReady:       {"device is not ready", signer.ErrUnavailable, hintTPM},
	nteBadPassword:    {"PIN or password incorrect", signer.ErrPINIncorrect, hintPIN},
	nteDeviceNotFound: {"device is not there", signer.ErrUnavailable, hintTPM},
	nteUserCancelled:  {"cancelled by the user", context.Canceled, hintCancel},

	cryptNotFound:      {"not found", signer.ErrNotFound, hintMissing},
	cryptExists:        {"exists already", nil, hintName},
	cryptNoKeyProperty: {"the certificate has no private key here", signer.ErrNotFound, hintMissing},
	cryptNoMatch:       {"no match", signer.ErrNotFound, hintMissing},

	scardCancelled:       {"cancelled", context.Canceled, hintCancel},
	scardTimeout:         {"smart card reader timed out", signer.ErrUnavailable, hintCard},
	scardSharing:         {"smart card is used by another program", signer.ErrUnavailable, "close the other program"},
	scardNoCard:          {"no smart card", signer.ErrUnavailable, hintCard},
	scardNotReady:        {"smart card reader is not ready", signer.ErrUnavailable, hintCard},
	scardReaderGone:      {"smart card reader is gone", signer.ErrUnavailable, hintCard},
	scardNoService:       {"smart card service does not run", signer.ErrUnavailable, hintService},
	scardServiceStopped:  {"smart card service was stopped", signer.ErrUnavailable, hintService},
	scardNoReaders:       {"no smart card reader", signer.ErrUnavailable, hintCard},
	scardCommLost:        {"smart card does not answer", signer.ErrUnavailable, hintCard},
	scardNoKeyContainer:  {"the smart card does not have the key", signer.ErrNotFound, hintCard},
	scardUnresponsive:    {"smart card does not answer", signer.ErrUnavailable, hintCard},
	scardUnpowered:       {"smart card has no power", signer.ErrUnavailable, hintCard},
	scardReset:           {"smart card was reset", signer.ErrUnavailable, hintCard},
	scardRemoved:         {"smart card was removed", signer.ErrUnavailable, hintCard},
	scardSecurity:        {"smart card refused access", signer.ErrPINRequired, hintAllowUI},
	scardWrongPIN:        {"PIN incorrect", signer.ErrPINIncorrect, hintPIN},
	scardPINBlocked:      {"PIN blocked", signer.ErrPINLocked, hintUnblock},
	scardCancelledByUser: {"cancelled by the user", context.Canceled, hintCancel},
	scardNotAuthed:       {"smart card wants a PIN", signer.ErrPINRequired, hintAllowUI},

	tbsTPMNotFound: {"no TPM", signer.ErrUnavailable, hintTPM},
	tpmLockout:     {"TPM is locked after wrong PINs", signer.ErrPINLocked, "wait, or see tpm.msc"},
	tpmAuthFail:    {"PIN incorrect", signer.ErrPINIncorrect, hintPIN},
	tpmNotReady:    {"TPM is not ready", signer.ErrUnavailable, hintTPM},
	tpmUnsupported: {"not supported by the TPM", errors.ErrUnsupported, hintTPM},
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

// Is makes errors.Is find what e means.
func (e Error) Is(target error) bool {
	k, ok := errorKinds[e]
	return ok && k.is != nil && k.is == target
}

// Hint is found by [signer.Hint].
func (e Error) Hint() string { return errorKinds[e].hint }
