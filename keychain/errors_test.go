package keychain

import (
	"errors"
	"fmt"
	"testing"

	"github.com/holdfast-dev/holdfast/keychain/internal/native"
	"github.com/holdfast-dev/holdfast/signer"
)

// sentinels are the errors that an Error can match.
var sentinels = []error{
	signer.ErrNotFound, signer.ErrUnavailable, signer.ErrPINRequired, signer.ErrPINIncorrect, signer.ErrPINLocked, errors.ErrUnsupported,
}

func TestMeanings(t *testing.T) {
	const (
		status = "NSOSStatusErrorDomain"
		token  = "CryptoTokenKit"
		touch  = "com.apple.LocalAuthentication"
	)
	all := []struct {
		domain string
		code   int
		want   error // nil: none
		name   string
	}{
		{status, -4, errors.ErrUnsupported, "errSecUnimplemented"},
		{status, -50, nil, "errSecParam"},
		{status, -128, signer.ErrPINRequired, "errSecUserCanceled"},
		{status, -2070, signer.ErrUnavailable, "errSecInternalComponent"},
		{status, -25291, signer.ErrUnavailable, "errSecNotAvailable"},
		{status, -25293, signer.ErrPINIncorrect, "errSecAuthFailed"},
		{status, -25294, signer.ErrUnavailable, "errSecNoSuchKeychain"},
		{status, -25300, signer.ErrNotFound, "errSecItemNotFound"},
		{status, -25307, signer.ErrUnavailable, "errSecNoDefaultKeychain"},
		{status, -25308, signer.ErrPINRequired, "errSecInteractionNotAllowed"},
		{status, -25315, signer.ErrPINRequired, "errSecInteractionRequired"},
		{status, -25320, signer.ErrUnavailable, "errSecInDarkWake"},
		{status, -34018, errors.ErrUnsupported, "errSecMissingEntitlement"},
		{token, -1, errors.ErrUnsupported, "TKErrorCodeNotImplemented"},
		{token, -2, signer.ErrUnavailable, "TKErrorCodeCommunicationError"},
		{token, -3, signer.ErrUnavailable, "TKErrorCodeCorruptedData"},
		{token, -4, signer.ErrPINRequired, "TKErrorCodeCanceledByUser"},
		{token, -5, signer.ErrPINIncorrect, "TKErrorCodeAuthenticationFailed"},
		{token, -6, signer.ErrNotFound, "TKErrorCodeObjectNotFound"},
		{token, -7, signer.ErrUnavailable, "TKErrorCodeTokenNotFound"},
		{token, -8, errors.ErrUnsupported, "TKErrorCodeBadParameter"},
		{token, -9, signer.ErrPINRequired, "TKErrorCodeAuthenticationNeeded"},
		{touch, -1, signer.ErrPINIncorrect, "LAErrorAuthenticationFailed"},
		{touch, -2, signer.ErrPINRequired, "LAErrorUserCancel"},
		{touch, -3, signer.ErrPINRequired, "LAErrorUserFallback"},
		{touch, -4, signer.ErrPINRequired, "LAErrorSystemCancel"},
		{touch, -5, signer.ErrUnavailable, "LAErrorPasscodeNotSet"},
		{touch, -6, signer.ErrUnavailable, "LAErrorBiometryNotAvailable"},
		{touch, -7, signer.ErrUnavailable, "LAErrorBiometryNotEnrolled"},
		{touch, -8, signer.ErrPINLocked, "LAErrorBiometryLockout"},
		{touch, -9, signer.ErrPINRequired, "LAErrorAppCancel"},
		{touch, -1004, signer.ErrPINRequired, "LAErrorNotInteractive"},
	}
	inTable := 0
	for _, domain := range meanings {
		inTable += len(domain.Value)
	}
	if inTable != len(all) {
		t.Errorf("%d errors have a meaning, %d are tested", inTable, len(all))
	}
	for _, test := range all {
		err := fmt.Errorf("sign: %w", asError(fmt.Errorf("call: %w", &native.Error{Call: "Call", Domain: test.domain, Code: test.code, Message: "m"})))
		var e Error
		if !errors.As(err, &e) || e != (Error{"Call", test.domain, test.code, "m"}) {
			t.Errorf("%s: %v does not keep its code", test.name, err)
		}
		for _, codes := range meanings {
			for _, code := range codes.Value.Keys() {
				domain := codes.Key
				same := domain == test.domain && code == test.code
				if got := errors.Is(err, Error{Domain: domain, Code: code}); got != same {
					t.Errorf("errors.Is(%s, %s %d) is %t", test.name, domain, code, got)
				}
			}
		}
		for _, s := range sentinels {
			if got := errors.Is(err, s); got != (s == test.want) {
				t.Errorf("errors.Is(%s, %q) is %t", test.name, s, got)
			}
		}
		if signer.Hint(err) == "" {
			t.Errorf("%s has no hint", test.name)
		}
	}
}

// A code that is not in the table for its domain matches no error of ours.
func TestUnknownCodes(t *testing.T) {
	for _, e := range []Error{
		{Domain: native.OSStatusDomain, Code: -9}, {Domain: "CryptoTokenKit", Code: -25308},
		{Domain: "com.apple.LocalAuthentication", Code: -128}, {Domain: "NSPOSIXErrorDomain", Code: -4}, {Code: -4}, {},
	} {
		for _, s := range sentinels {
			if errors.Is(e, s) {
				t.Errorf("errors.Is(%#v, %q) is true", e, s)
			}
		}
		if errors.Is(e, nil) || e.Error() == "" {
			t.Errorf("%#v matches nil or has no text", e)
		}
	}
	if err := errors.New("other"); asError(err) != err || asError(nil) != nil {
		t.Error("asError changes an error that is not from macOS")
	}
}
