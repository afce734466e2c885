package tpm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/signer"
)

// Bits of a response code (TPM 2.0 Library, part 2, section 6.6.2, table 15).
const (
	formatOne   Error = 0x080
	ofParameter Error = 0x040
	ofSession   Error = 0x800
)

// variants returns all codes that are equal without the number of a parameter,
// handle or session. Only format-one codes have such a number.
func variants(code Error) []Error {
	all := []Error{code}
	if code&formatOne == 0 {
		return all
	}
	for n := Error(1); n <= 7; n++ {
		all = append(all, code|n<<8, code|ofSession|n<<8)
	}
	for n := Error(1); n <= 15; n++ {
		all = append(all, code|ofParameter|n<<8)
	}
	return all
}

func TestErrorKinds(t *testing.T) {
	sentinels := []error{
		signer.ErrNotFound, signer.ErrUnavailable, signer.ErrPINIncorrect, signer.ErrPINLocked, errors.ErrUnsupported,
		signer.ErrPINRequired, signer.ErrAmbiguous, signer.ErrMismatch, signer.ErrClosed, signer.ErrNoCertificate,
	}
	for _, known := range errorKinds {
		canonical, k := known.Key, known.Value
		if canonical.canonical() != canonical {
			t.Errorf("the code 0x%03x in the table has the number of a parameter, handle or session", uint32(canonical))
		}
		for _, code := range variants(canonical) {
			err := fmt.Errorf("around: %w", explain("TPM2_Test", fmt.Errorf("below: %w", tpm2.TPMRC(code))))
			for _, form := range variants(canonical) {
				if !errors.Is(err, form) {
					t.Errorf("0x%03x: %v is not 0x%03x", uint32(code), err, uint32(form))
				}
			}
			for _, other := range errorKinds.Keys() {
				if other != canonical && errors.Is(err, other) {
					t.Errorf("0x%03x: %v is 0x%03x", uint32(code), err, uint32(other))
				}
			}
			var rc Error
			if !errors.As(err, &rc) || rc != code {
				t.Errorf("0x%03x: errors.As returns 0x%03x", uint32(code), uint32(rc))
			}
			for _, s := range sentinels {
				if errors.Is(err, s) != (k.is != nil && s == *k.is) {
					t.Errorf("0x%03x: matches %q: %t", uint32(code), s, errors.Is(err, s))
				}
			}
			if text := err.Error(); !strings.Contains(text, "TPM2_Test: "+k.text) || !strings.Contains(text, fmt.Sprintf("0x%03x", uint32(code))) {
				t.Errorf("0x%03x: %q", uint32(code), text)
			}
			if signer.Hint(err) != k.hint {
				t.Errorf("0x%03x: hint %q, want %q", uint32(code), signer.Hint(err), k.hint)
			}
			if lost(err) != k.lost {
				t.Errorf("0x%03x: lost %t", uint32(code), lost(err))
			}
		}
		// An error after which the object is loaded again needs no hint.
		if k.hint == "" && !k.lost && !(k.is != nil && *k.is == errors.ErrUnsupported) {
			t.Errorf("0x%03x has no hint", uint32(canonical))
		}
	}
}

// Codes with similar numbers have different meanings.
func TestSimilarCodes(t *testing.T) {
	for code, want := range map[tpm2.TPMRC]error{
		0x98e: signer.ErrPINIncorrect, // TPM_RC_S + TPM_RC_1 + TPM_RC_AUTH_FAIL
		0x9a2: signer.ErrPINIncorrect, // TPM_RC_S + TPM_RC_1 + TPM_RC_BAD_AUTH
		0x921: signer.ErrPINLocked,    // TPM_RC_LOCKOUT
		0x99d: signer.ErrUnavailable,  // TPM_RC_S + TPM_RC_1 + TPM_RC_POLICY_FAIL
		0x902: signer.ErrUnavailable,  // TPM_RC_OBJECT_MEMORY
		0x910: signer.ErrUnavailable,  // TPM_RC_REFERENCE_H0
		0x100: signer.ErrUnavailable,  // TPM_RC_INITIALIZE
		0x12f: errors.ErrUnsupported,  // TPM_RC_AUTH_UNAVAILABLE
		0x1df: signer.ErrNotFound,     // TPM_RC_P + TPM_RC_1 + TPM_RC_INTEGRITY
		0x18b: signer.ErrNotFound,     // TPM_RC_H + TPM_RC_1 + TPM_RC_HANDLE
		0x2d2: errors.ErrUnsupported,  // TPM_RC_P + TPM_RC_2 + TPM_RC_SCHEME
		0x01e: signer.ErrUnavailable,  // TPM_RC_BAD_TAG
	} {
		if err := explain("TPM2_Test", code); !errors.Is(err, want) {
			t.Errorf("0x%03x: %v, want %v", uint32(code), err, want)
		}
	}
	for _, code := range []Error{0x103, 0x98f, 0x122, 0x909, 0x1d5, 0x00e} {
		err := explain("TPM2_Test", tpm2.TPMRC(code))
		if k, ok := code.kind(); ok {
			t.Errorf("0x%03x is explained as %v", uint32(code), k)
		}
		if !errors.Is(err, code) || !strings.HasPrefix(err.Error(), "TPM2_Test: ") || lost(err) {
			t.Errorf("0x%03x: %v", uint32(code), err)
		}
	}
	for code, counted := range map[tpm2.TPMRC]bool{0x98e: true, 0xa8e: true, 0x98e - 0x800: true, 0x9a2: false, 0x921: false, 0x99d: false} {
		err := explain("TPM2_Test", code)
		if errors.Is(err, signer.ErrTryCounted) != counted || errors.Is(missingPassword(err), signer.ErrTryCounted) != counted {
			t.Errorf("0x%03x: %v, want ErrTryCounted %t", uint32(code), err, counted)
		}
	}
	// A response that go-tpm cannot parse is not a response of a TPM.
	junk := errors.New("junk")
	if err := explain("TPM2_Test", junk); !errors.Is(err, junk) || !errors.Is(err, signer.ErrUnavailable) || lost(err) {
		t.Errorf("%v", err)
	}
	if err := explain("TPM2_Test", nil); err != nil {
		t.Errorf("nothing is explained as %v", err)
	}
}

// A commandError matches its code and its own meaning, not that of errorKinds.
func TestCommandError(t *testing.T) {
	for _, rc := range []tpm2.TPMRC{0x98e, 0x9a2} {
		cause := explain("TPM2_Test", rc)
		err := fmt.Errorf("around: %w", missingPassword(cause))
		var code Error
		if !errors.Is(err, Error(rc)) || !errors.As(err, &code) || code != Error(rc) {
			t.Errorf("%v is not 0x%03x", err, uint32(rc))
		}
		if !errors.Is(err, signer.ErrPINRequired) || errors.Is(err, signer.ErrPINIncorrect) || errors.Is(err, Error(tpm2.TPMRCLockout)) {
			t.Errorf("%v does not match only ErrPINRequired", err)
		}
		if err.Error() != "around: "+cause.Error() || signer.Hint(err) != signer.Hint(cause) {
			t.Errorf("%v, hint %q; want the text and the hint of %v", err, signer.Hint(err), cause)
		}
	}
	if err := missingPassword(errors.New("other")); err != signer.ErrPINRequired {
		t.Errorf("%v", err)
	}
}

func TestBusError(t *testing.T) {
	for cause, again := range map[error]bool{io.EOF: true, io.ErrUnexpectedEOF: true, os.ErrClosed: true, os.ErrDeadlineExceeded: false} {
		err := explain("TPM2_Test", busError(cause))
		for _, want := range []error{errBus, cause, signer.ErrUnavailable} {
			if !errors.Is(err, want) {
				t.Errorf("%v is not %v", err, want)
			}
		}
		if lost(err) != again {
			t.Errorf("%v: lost %t", err, lost(err))
		}
	}
}
