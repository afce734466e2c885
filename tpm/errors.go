package tpm

import (
	"errors"
	"fmt"
	"os"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/signer"
)

// An Error is a response code of a TPM (TPM_RC_…). errors.Is compares codes
// without the number of the parameter, handle or session. It also matches the
// corresponding error of package signer, or [errors.ErrUnsupported].
type Error uint32

// An errorKind explains a response code to users and callers.
type errorKind struct {
	text string
	is   *error // the variable of the error that errors.Is matches; nil: none
	lost bool   // the loaded object is lost; loading it again may succeed
	hint string
}

// errorKinds contains the codes that this package handles and that users may
// see. Source: TPM 2.0 Library, part 2, section 6.6.3.
var errorKinds = lookup.Table[Error, errorKind]{
	{Error(tpm2.TPMRCAuthFail), errorKind{"authorization failed, and the TPM counted the try", &signer.ErrPINIncorrect, false, "give the right password; after several incorrect ones, the TPM locks for some time"}},
	{Error(tpm2.TPMRCBadAuth), errorKind{"authorization failed", &signer.ErrPINIncorrect, false, "give the right password"}},
	{Error(tpm2.TPMRCLockout), errorKind{"the TPM is locked because of too many incorrect passwords", &signer.ErrPINLocked, false, hintLockout}},
	{Error(tpm2.TPMRCPolicyFail), errorKind{"the policy of the key is not satisfied", &signer.ErrUnavailable, false, hintPolicy}},
	{Error(tpm2.TPMRCPCRChanged), errorKind{"the PCRs changed during the command", &signer.ErrUnavailable, true, hintPolicy}},
	{Error(tpm2.TPMRCAuthUnavailable), errorKind{"the key requires a policy that its file does not contain", &errors.ErrUnsupported, false, "use the original key file from the tool that made the key"}},
	{Error(tpm2.TPMRCIntegrity), errorKind{"the key belongs to another TPM or another parent, or its file is damaged", &signer.ErrNotFound, false, "use the TPM and the parent with which the key was made; clearing a TPM makes its keys unusable"}},
	{Error(tpm2.TPMRCInitialize), errorKind{"the TPM was reset", &signer.ErrUnavailable, true, ""}},
	{Error(tpm2.TPMRCHandle), errorKind{"no object with this handle in the TPM", &signer.ErrNotFound, true, "list the persistent handles with tpm2_getcap handles-persistent"}},
	{Error(tpm2.TPMRCReferenceH0), errorKind{"the key is no longer loaded", &signer.ErrUnavailable, true, ""}},
	{Error(tpm2.TPMRCReferenceH1), errorKind{"an object is no longer loaded", &signer.ErrUnavailable, true, ""}},
	{Error(tpm2.TPMRCReferenceS0), errorKind{"the session is no longer loaded", &signer.ErrUnavailable, true, ""}},
	{Error(tpm2.TPMRCContextGap), errorKind{"the TPM has no more session context IDs", &signer.ErrUnavailable, true, ""}},
	{Error(tpm2.TPMRCObjectMemory), errorKind{"the TPM has no room for another loaded object", &signer.ErrUnavailable, true, hintFull}},
	{Error(tpm2.TPMRCSessionMemory), errorKind{"the TPM has no room for another session", &signer.ErrUnavailable, true, hintFull}},
	{Error(tpm2.TPMRCSessionHandles), errorKind{"the TPM has no more session handles", &signer.ErrUnavailable, true, hintFull}},
	{Error(tpm2.TPMRCMemory), errorKind{"the TPM is out of memory", &signer.ErrUnavailable, true, hintFull}},
	{Error(tpm2.TPMRCNVSpace), errorKind{"the TPM has no room for another persistent object", &signer.ErrUnavailable, false, "store the key in a file: tpm:path=…"}},
	{Error(tpm2.TPMRCScheme), errorKind{"the TPM or the key does not support this signature scheme", &errors.ErrUnsupported, false, ""}},
	{Error(tpm2.TPMRCHash), errorKind{"the TPM does not support this hash algorithm", &errors.ErrUnsupported, false, ""}},
	{Error(tpm2.TPMRCCurve), errorKind{"the TPM does not support this curve", &errors.ErrUnsupported, false, ""}},
	{Error(tpm2.TPMRCKeySize), errorKind{"the TPM does not support this key size", &errors.ErrUnsupported, false, ""}},
	{Error(tpm2.TPMRCAsymmetric), errorKind{"the TPM does not support this key type", &errors.ErrUnsupported, false, ""}},
	{Error(tpm2.TPMRCType), errorKind{"the object has the wrong type", &errors.ErrUnsupported, false, ""}},
	{Error(tpm2.TPMRCCommandCode), errorKind{"the TPM does not support this command", &errors.ErrUnsupported, false, ""}},
	{Error(tpm2.TPMRCHierarchy), errorKind{"the hierarchy is disabled", &signer.ErrUnavailable, false, "enable it in the firmware"}},
	{rcBadTag, errorKind{"the device is a TPM 1.2", &signer.ErrUnavailable, false, "use a TPM 2.0; some firmware can switch to it"}},
	{Error(tpm2.TPMRCFailure), errorKind{"the TPM is in failure mode", &signer.ErrUnavailable, false, "restart the machine"}},
	{Error(tpm2.TPMRCRetry), errorKind{"the TPM is busy", &signer.ErrUnavailable, false, "try again"}},
	{Error(tpm2.TPMRCYielded), errorKind{"the TPM is busy", &signer.ErrUnavailable, false, "try again"}},
	{Error(tpm2.TPMRCTesting), errorKind{"the TPM is performing its self-test", &signer.ErrUnavailable, false, "try again"}},
	{Error(tpm2.TPMRCNVRate), errorKind{"the TPM limits the rate of writes to its nonvolatile memory", &signer.ErrUnavailable, false, "try again"}},
	{Error(tpm2.TPMRCNVUnavailable), errorKind{"the nonvolatile memory of the TPM is not available", &signer.ErrUnavailable, false, "try again"}},
}

// rcBadTag is TPM_RC_BAD_TAG, the response of a TPM 1.2.
const rcBadTag Error = 0x01e

const (
	hintLockout = "wait, or reset the lockout with the lockout password: tpm2_dictionarylockout --clear-lockout"
	hintPolicy  = "restore the PCRs: boot the machine with the same firmware and software as before; or make the key again, or seal the secret again"
	hintFull    = "flush what other programs left in the TPM: tpm2_flushcontext -t -l -s; or use /dev/tpmrm0"
)

// canonical returns e without the number of a parameter, handle or session.
// Only format-one codes have such a number (part 2, section 6.6.2, table 15).
func (e Error) canonical() Error {
	if e&0x80 != 0 {
		return e & 0xbf
	}
	return e
}

func (e Error) kind() (errorKind, bool) {
	k, ok := errorKinds.Find(e.canonical())
	return k, ok
}

func (e Error) Error() string {
	text := tpm2.TPMRC(e).Error()
	if k, ok := e.kind(); ok {
		text = k.text
	}
	return fmt.Sprintf("%s (TPM_RC 0x%03x)", text, uint32(e))
}

// Is reports whether target is the same code or the error that corresponds to
// e, for [errors.Is].
func (e Error) Is(target error) bool {
	if other, ok := target.(Error); ok {
		return e.canonical() == other.canonical()
	}
	if target == signer.ErrTryCounted {
		return e.canonical() == Error(tpm2.TPMRCAuthFail)
	}
	k, _ := e.kind()
	return k.is != nil && *k.is == target
}

// Hint returns the hint for [signer.Hint].
func (e Error) Hint() string {
	k, _ := e.kind()
	return k.hint
}

// A commandError is a response code with a different meaning than in
// errorKinds, because of the command that returned it.
type commandError struct {
	text string
	code Error
	is   error
	hint string
}

func (e *commandError) Error() string { return e.text }
func (e *commandError) Hint() string  { return e.hint }

func (e *commandError) Is(target error) bool {
	if _, ok := target.(Error); ok || target == signer.ErrTryCounted {
		return e.code.Is(target)
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

// explain converts the error of a command to an error of this package.
func explain(command string, err error) error {
	var code tpm2.TPMRC
	switch {
	case err == nil:
		return nil
	case errors.As(err, &code):
		return fmt.Errorf("%s: %w", command, Error(code))
	case errors.Is(err, errBus), errors.Is(err, errNotSent):
		return fmt.Errorf("%s: %w", command, err)
	}
	// The response could not be parsed.
	return fmt.Errorf("%s: %w: %w: %w", command, errNotTPM, err, signer.ErrUnavailable)
}

// missingPassword converts the error of a refused password to one that matches
// [signer.ErrPINRequired], for the case that no password was given.
func missingPassword(err error) error {
	var e Error
	if !errors.As(err, &e) {
		return signer.ErrPINRequired
	}
	return &commandError{err.Error(), e, signer.ErrPINRequired, e.Hint()}
}

// errBus marks an error of the communication with the TPM.
var errBus = errors.New("the TPM does not answer")

// A noResponseError reports that a command did not end before its context. Its
// text does not repeat that of the context.
type noResponseError struct {
	device string
	err    error
}

func (e *noResponseError) Error() string { return e.device + " gave no response in time" }
func (e *noResponseError) Unwrap() error { return e.err }

func busError(err error) error {
	return fmt.Errorf("%w: %w: %w", errBus, err, signer.ErrUnavailable)
}

// lost reports whether opening the TPM and loading the key again may succeed
// after err. It is false after a timeout.
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
