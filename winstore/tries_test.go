package winstore

import (
	"crypto"
	"errors"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// pinErrors are the codes for a PIN that a device has refused.
var pinErrors = map[Error]error{
	scardWrongPIN: signer.ErrPINIncorrect, nteBadPassword: signer.ErrPINIncorrect, tpmAuthFail: signer.ErrPINIncorrect,
	scardPINBlocked: signer.ErrPINLocked,
}

// Without dialogs, a key uses one try, and then none until it is opened again. With
// dialogs, a person may give another PIN.
func TestRefusedPIN(t *testing.T) {
	for code, want := range pinErrors {
		for _, info := range []keyInfo{cng, {"c", aesProvider, provRSAAES, 0, specSignature}, {"c", "Card CSP", provRSAFull, 0, specSignature}} {
			op := "signDigest"
			if info.provType != 0 {
				op = "signHash"
			}
			for _, ui := range []bool{false, true} {
				f := newFake(t)
				key := signertest.Key(t, "rsa2048")
				f.add(User, "MY", signertest.NewCA(t, "root").Issue(t, key, nil), key, &info)
				k := mustOpen(t, f, Config{AllowUI: ui})
				sign := func(k *Key) error {
					_, err := k.Sign(nil, make([]byte, 32), crypto.SHA256)
					return err
				}
				f.faults[op] = code
				for range 5 {
					if err := sign(k); !errors.Is(err, code) || !errors.Is(err, want) || !errors.Is(err, signer.ErrTryCounted) || signer.Hint(err) == "" {
						t.Errorf("%v: error %v", code, err)
					}
				}
				if calls := map[bool]int{false: 1, true: 5}[ui]; f.calls[op] != calls {
					t.Errorf("%v, dialogs %t: %d calls, want %d", code, ui, f.calls[op], calls)
				}
				delete(f.faults, op)
				if err := sign(k); (err == nil) != ui {
					t.Errorf("%v, dialogs %t: %v", code, ui, err)
				}
				if err := sign(mustOpen(t, f, Config{})); err != nil {
					t.Errorf("%v: opened again: %v", code, err)
				}
			}
		}
	}
}

// A PIN that is refused while a key is opened or made is a counted try, too, and
// no other way to open it is tried.
func TestRefusedPINWhileOpening(t *testing.T) {
	for code, want := range pinErrors {
		for _, op := range []string{"acquire", "openKey"} {
			f, _, _ := withKey(t, "p256")
			f.wine = op == "openKey"
			f.faults[op] = code
			_, err := open(t.Context(), f, Config{})
			if !errors.Is(err, want) || !errors.Is(err, signer.ErrTryCounted) || f.calls[op] != 1 || f.calls["acquireContext"] != 0 {
				t.Errorf("%s, %v: error %v, %d calls", op, code, err, f.calls[op])
			}
		}
	}
}

// Other codes about PINs are not counted, and a key that got them signs again.
func TestUncountedPIN(t *testing.T) {
	for _, code := range []Error{scardInvalidPIN, tpmBadAuth, tpmLockout, nteSilentContext, scardNotAuthed, scardSecurity} {
		f, _, _ := withKey(t, "p256")
		k := mustOpen(t, f, Config{})
		f.faults["signDigest"] = code
		if _, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); !errors.Is(err, code) || errors.Is(err, signer.ErrTryCounted) {
			t.Errorf("error %v", err)
		}
		delete(f.faults, "signDigest")
		if _, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); err != nil {
			t.Errorf("after %v: %v", code, err)
		}
	}
}
