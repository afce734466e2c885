package tpm

import (
	"errors"
	"fmt"
	"os"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/signer"
)

// An errorKind says what a response code means to people and to callers.
// Source: TPM 2.0 Library, part 2, section 6.6.
type errorKind struct {
	code tpm2.TPMRC
	text string
	is   error // nil: nothing that a caller can act on
	lost bool  // what was loaded is gone; loading it again may work
	hint string
}

var errorKinds = []errorKind{
	{tpm2.TPMRCAuthFail, "the TPM refused it and counted the try", signer.ErrPINIncorrect, false, "give the right password; after some wrong ones the TPM takes none for a while"},
	{tpm2.TPMRCBadAuth, "the TPM refused it", signer.ErrPINIncorrect, false, "give the right password"},
	{tpm2.TPMRCLockout, "the TPM takes no password after too many wrong ones", signer.ErrPINLocked, false, hintLockout},
	{tpm2.TPMRCPolicyFail, "the key's policy is not fulfilled", signer.ErrUnavailable, false, hintPolicy},
	{tpm2.TPMRCPCRChanged, "the PCRs changed meanwhile", signer.ErrUnavailable, true, hintPolicy},
	{tpm2.TPMRCAuthUnavailable, "the key wants a policy that its file does not have", errors.ErrUnsupported, false, "use the file that came from the tool that made the key"},
	{tpm2.TPMRCIntegrity, "the key is of another TPM or another parent, or its file is damaged", signer.ErrNotFound, false, "use the machine and the parent that the key was made with; a TPM that was cleared has lost its keys"},
	{tpm2.TPMRCInitialize, "the TPM was reset", signer.ErrUnavailable, true, ""},
	{tpm2.TPMRCHandle, "there is no such object in the TPM", signer.ErrNotFound, true, "tpm2_getcap handles-persistent lists what there is"},
	{tpm2.TPMRCReferenceH0, "the loaded key is gone", signer.ErrUnavailable, true, ""},
	{tpm2.TPMRCReferenceH1, "a loaded object is gone", signer.ErrUnavailable, true, ""},
	{tpm2.TPMRCReferenceS0, "the session is gone", signer.ErrUnavailable, true, ""},
	{tpm2.TPMRCContextGap, "the TPM's sessions are used up", signer.ErrUnavailable, true, ""},
	{tpm2.TPMRCObjectMemory, "the TPM is full of loaded objects", signer.ErrUnavailable, true, hintFull},
	{tpm2.TPMRCSessionMemory, "the TPM is full of sessions", signer.ErrUnavailable, true, hintFull},
	{tpm2.TPMRCSessionHandles, "the TPM is full of sessions", signer.ErrUnavailable, true, hintFull},
	{tpm2.TPMRCMemory, "the TPM is out of memory", signer.ErrUnavailable, true, hintFull},
	{tpm2.TPMRCNVSpace, "the TPM has no room for another persistent object", signer.ErrUnavailable, false, "keep the key in a file: tpm:path=…"},
	{tpm2.TPMRCScheme, "the TPM or the key does not make this kind of signature", errors.ErrUnsupported, false, ""},
	{tpm2.TPMRCHash, "the TPM does not have this hash", errors.ErrUnsupported, false, ""},
	{tpm2.TPMRCCurve, "the TPM does not have this curve", errors.ErrUnsupported, false, ""},
	{tpm2.TPMRCKeySize, "the TPM does not have keys of this size", errors.ErrUnsupported, false, ""},
	{tpm2.TPMRCAsymmetric, "the TPM does not have keys of this type", errors.ErrUnsupported, false, ""},
	{tpm2.TPMRCType, "the object is of another type", errors.ErrUnsupported, false, ""},
	{tpm2.TPMRCCommandCode, "the TPM does not have this command", errors.ErrUnsupported, false, ""},
	{tpm2.TPMRCHierarchy, "the hierarchy is switched off", signer.ErrUnavailable, false, "enable it in the firmware"},
	{rcBadTag, "this is a TPM 1.2", signer.ErrUnavailable, false, "Holdfast needs a TPM 2.0; some firmware can switch to it"},
	{tpm2.TPMRCFailure, "the TPM is in failure mode", signer.ErrUnavailable, false, "restart the machine"},
	{tpm2.TPMRCRetry, "the TPM is busy", signer.ErrUnavailable, false, "try again"},
	{tpm2.TPMRCYielded, "the TPM is busy", signer.ErrUnavailable, false, "try again"},
	{tpm2.TPMRCTesting, "the TPM is busy testing itself", signer.ErrUnavailable, false, "try again"},
	{tpm2.TPMRCNVRate, "the TPM's memory cannot be written so often", signer.ErrUnavailable, false, "try again"},
	{tpm2.TPMRCNVUnavailable, "the TPM's memory cannot be written now", signer.ErrUnavailable, false, "try again"},
}

// rcBadTag is TPM_RC_BAD_TAG, with which a TPM 1.2 answers.
const rcBadTag tpm2.TPMRC = 0x01e

const (
	hintLockout = "wait, or reset it with the lockout password: tpm2_dictionarylockout --clear-lockout"
	hintPolicy  = "the machine's PCRs are not those of then: start it as it was, or make the key, or seal the secret, anew"
	hintFull    = "other programs left objects in the TPM: tpm2_flushcontext -t -l -s, or use /dev/tpmrm0"
)

// kindOf returns what the response code in err means.
func kindOf(err error) (errorKind, bool) {
	for _, k := range errorKinds {
		if errors.Is(err, k.code) {
			return k, true
		}
	}
	return errorKind{}, false
}

// A tpmError is a response code with the command that had it.
type tpmError struct {
	command string
	kind    errorKind
	err     error // a tpm2.TPMRC somewhere below
}

func (e *tpmError) Error() string {
	var rc tpm2.TPMRC
	if errors.As(e.err, &rc) {
		return fmt.Sprintf("%s: %s (TPM_RC 0x%03x)", e.command, e.kind.text, uint32(rc))
	}
	return fmt.Sprintf("%s: %s", e.command, e.kind.text)
}

func (e *tpmError) Unwrap() []error {
	if e.kind.is == nil {
		return []error{e.err}
	}
	return []error{e.err, e.kind.is}
}

func (e *tpmError) Hint() string { return e.kind.hint }

// explain adds to the error of a command what it means.
func explain(command string, err error) error {
	if err == nil {
		return nil
	}
	if k, ok := kindOf(err); ok {
		return &tpmError{command, k, err}
	}
	var code tpm2.TPMRC
	if !errors.As(err, &code) && !errors.Is(err, errBus) { // it answered with what cannot be
		return fmt.Errorf("%s: %w: %w: %w", command, errNotTPM, err, signer.ErrUnavailable)
	}
	return fmt.Errorf("%s: %w", command, err)
}

// notGiven says of a refused password that there was none.
func notGiven(err error) error {
	var e *tpmError
	if !errors.As(err, &e) {
		return signer.ErrPINRequired
	}
	kind := e.kind
	kind.is = signer.ErrPINRequired
	return &tpmError{e.command, kind, e.err}
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
	var e *tpmError
	return errors.As(err, &e) && e.kind.lost
}
