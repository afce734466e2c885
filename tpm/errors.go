package tpm

import (
	"errors"
	"fmt"
	"os"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/signer"
)

// An Error is a response code of a TPM (TPM_RC_…). errors.Is compares it, without
// the number of the parameter, handle or session that it is about, and finds the
// errors of package signer and [errors.ErrUnsupported] behind it.
type Error uint32

// An errorKind says what a response code means to people and to callers.
type errorKind struct {
	text string
	is   error // nil: nothing that a caller can act on
	lost bool  // what was loaded is gone; loading it again may work
	hint string
}

// errorKinds are the codes that decide something here, or that people meet.
// Source: TPM 2.0 Library, part 2, section 6.6.3.
var errorKinds = map[Error]errorKind{
	Error(tpm2.TPMRCAuthFail):        {"the TPM refused it and counted the try", signer.ErrPINIncorrect, false, "give the right password; after some wrong ones the TPM takes none for a while"},
	Error(tpm2.TPMRCBadAuth):         {"the TPM refused it", signer.ErrPINIncorrect, false, "give the right password"},
	Error(tpm2.TPMRCLockout):         {"the TPM takes no password after too many wrong ones", signer.ErrPINLocked, false, hintLockout},
	Error(tpm2.TPMRCPolicyFail):      {"the key's policy is not fulfilled", signer.ErrUnavailable, false, hintPolicy},
	Error(tpm2.TPMRCPCRChanged):      {"the PCRs changed meanwhile", signer.ErrUnavailable, true, hintPolicy},
	Error(tpm2.TPMRCAuthUnavailable): {"the key wants a policy that its file does not have", errors.ErrUnsupported, false, "use the file that came from the tool that made the key"},
	Error(tpm2.TPMRCIntegrity):       {"the key is of another TPM or another parent, or its file is damaged", signer.ErrNotFound, false, "use the machine and the parent that the key was made with; a TPM that was cleared has lost its keys"},
	Error(tpm2.TPMRCInitialize):      {"the TPM was reset", signer.ErrUnavailable, true, ""},
	Error(tpm2.TPMRCHandle):          {"there is no such object in the TPM", signer.ErrNotFound, true, "tpm2_getcap handles-persistent lists what there is"},
	Error(tpm2.TPMRCReferenceH0):     {"the loaded key is gone", signer.ErrUnavailable, true, ""},
	Error(tpm2.TPMRCReferenceH1):     {"a loaded object is gone", signer.ErrUnavailable, true, ""},
	Error(tpm2.TPMRCReferenceS0):     {"the session is gone", signer.ErrUnavailable, true, ""},
	Error(tpm2.TPMRCContextGap):      {"the TPM's sessions are used up", signer.ErrUnavailable, true, ""},
	Error(tpm2.TPMRCObjectMemory):    {"the TPM is full of loaded objects", signer.ErrUnavailable, true, hintFull},
	Error(tpm2.TPMRCSessionMemory):   {"the TPM is full of sessions", signer.ErrUnavailable, true, hintFull},
	Error(tpm2.TPMRCSessionHandles):  {"the TPM is full of sessions", signer.ErrUnavailable, true, hintFull},
	Error(tpm2.TPMRCMemory):          {"the TPM is out of memory", signer.ErrUnavailable, true, hintFull},
	Error(tpm2.TPMRCNVSpace):         {"the TPM has no room for another persistent object", signer.ErrUnavailable, false, "keep the key in a file: tpm:path=…"},
	Error(tpm2.TPMRCScheme):          {"the TPM or the key does not make this kind of signature", errors.ErrUnsupported, false, ""},
	Error(tpm2.TPMRCHash):            {"the TPM does not have this hash", errors.ErrUnsupported, false, ""},
	Error(tpm2.TPMRCCurve):           {"the TPM does not have this curve", errors.ErrUnsupported, false, ""},
	Error(tpm2.TPMRCKeySize):         {"the TPM does not have keys of this size", errors.ErrUnsupported, false, ""},
	Error(tpm2.TPMRCAsymmetric):      {"the TPM does not have keys of this type", errors.ErrUnsupported, false, ""},
	Error(tpm2.TPMRCType):            {"the object is of another type", errors.ErrUnsupported, false, ""},
	Error(tpm2.TPMRCCommandCode):     {"the TPM does not have this command", errors.ErrUnsupported, false, ""},
	Error(tpm2.TPMRCHierarchy):       {"the hierarchy is switched off", signer.ErrUnavailable, false, "enable it in the firmware"},
	rcBadTag:                         {"this is a TPM 1.2", signer.ErrUnavailable, false, "Holdfast needs a TPM 2.0; some firmware can switch to it"},
	Error(tpm2.TPMRCFailure):         {"the TPM is in failure mode", signer.ErrUnavailable, false, "restart the machine"},
	Error(tpm2.TPMRCRetry):           {"the TPM is busy", signer.ErrUnavailable, false, "try again"},
	Error(tpm2.TPMRCYielded):         {"the TPM is busy", signer.ErrUnavailable, false, "try again"},
	Error(tpm2.TPMRCTesting):         {"the TPM is busy testing itself", signer.ErrUnavailable, false, "try again"},
	Error(tpm2.TPMRCNVRate):          {"the TPM's memory cannot be written so often", signer.ErrUnavailable, false, "try again"},
	Error(tpm2.TPMRCNVUnavailable):   {"the TPM's memory cannot be written now", signer.ErrUnavailable, false, "try again"},
}

// rcBadTag is TPM_RC_BAD_TAG, with which a TPM 1.2 answers.
const rcBadTag Error = 0x01e

const (
	hintLockout = "wait, or reset it with the lockout password: tpm2_dictionarylockout --clear-lockout"
	hintPolicy  = "the machine's PCRs are not those of then: start it as it was, or make the key, or seal the secret, anew"
	hintFull    = "other programs left objects in the TPM: tpm2_flushcontext -t -l -s, or use /dev/tpmrm0"
)

// canonical returns e without the number of a parameter, handle or session, which
// codes of format one have (part 2, section 6.6.2, table 15).
func (e Error) canonical() Error {
	if e&0x80 != 0 {
		return e & 0xbf
	}
	return e
}

func (e Error) kind() (errorKind, bool) {
	k, ok := errorKinds[e.canonical()]
	return k, ok
}

func (e Error) Error() string {
	text := tpm2.TPMRC(e).Error()
	if k, ok := e.kind(); ok {
		text = k.text
	}
	return fmt.Sprintf("%s (TPM_RC 0x%03x)", text, uint32(e))
}

// Is makes errors.Is find the same code and what e means.
func (e Error) Is(target error) bool {
	if other, ok := target.(Error); ok {
		return e.canonical() == other.canonical()
	}
	k, _ := e.kind()
	return k.is != nil && k.is == target
}

// Hint is found by [signer.Hint].
func (e Error) Hint() string {
	k, _ := e.kind()
	return k.hint
}

// A particular is a code whose meaning, after one command, is not that of the
// table.
type commandError struct {
	text string
	code Error
	is   error
	hint string
}

func (e *commandError) Error() string { return e.text }
func (e *commandError) Hint() string  { return e.hint }

func (e *commandError) Is(target error) bool {
	if other, ok := target.(Error); ok {
		return e.code.Is(other)
	}
	return e.is == target
}

func (e *commandError) As(target any) bool {
	code, ok := target.(*Error)
	if ok {
		*code = e.code
	}
	return ok
}

// explain makes the error of a command this package's.
func explain(command string, err error) error {
	var code tpm2.TPMRC
	switch {
	case err == nil:
		return nil
	case errors.As(err, &code):
		return fmt.Errorf("%s: %w", command, Error(code))
	case errors.Is(err, errBus):
		return fmt.Errorf("%s: %w", command, err)
	}
	// No TPM gives such an answer.
	return fmt.Errorf("%s: %w: %w: %w", command, errNotTPM, err, signer.ErrUnavailable)
}

// notGiven says of a refused password that there was none.
func missingPassword(err error) error {
	var e Error
	if !errors.As(err, &e) {
		return signer.ErrPINRequired
	}
	return &commandError{err.Error(), e, signer.ErrPINRequired, e.Hint()}
}

// errBus marks what went wrong on the way to the TPM.
var errBus = errors.New("the TPM does not answer")

func busError(err error) error {
	return fmt.Errorf("%w: %w: %w", errBus, err, signer.ErrUnavailable)
}

// lost reports whether err may be over when the TPM is opened and the key
// loaded again. One that kept silent for as long as there is patience is not
// asked again.
func lost(err error) bool {
	if errors.Is(err, errBus) {
		return !errors.Is(err, os.ErrDeadlineExceeded)
	}
	var e Error
	if !errors.As(err, &e) {
		return false
	}
	k, _ := e.kind()
	return k.lost
}
