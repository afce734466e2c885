package pkcs11

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func newCard(t *testing.T) *fakeToken {
	t.Helper()
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	return token
}

// recordPIN returns a PINFunc that records the prompts and returns pin.
func recordPIN(prompts *[]keystore.Prompt, pin string) keystore.PINFunc {
	return func(_ context.Context, p keystore.Prompt) ([]byte, error) {
		*prompts = append(*prompts, p)
		return []byte(pin), nil
	}
}

func TestWrongPINUsesOneTry(t *testing.T) {
	token := newCard(t)
	b := newFixture(t, token)
	_, err := b.open(t, "pkcs11:", Config{PIN: fixedPIN("000000")})
	if !errors.Is(err, signer.ErrPINIncorrect) || !errors.Is(err, ckrPINIncorrect) {
		t.Errorf("error %v, want signer.ErrPINIncorrect", err)
	}
	if token.wrong != 1 {
		t.Errorf("%d tries were used, want 1", token.wrong)
	}
	if strings.Contains(err.Error(), "000000") {
		t.Errorf("error %v shows the PIN", err)
	}
}

// After the PIN was changed by another program, several signatures use only one
// try. With the new PIN the key signs again.
func TestWrongPINNotRetried(t *testing.T) {
	token := newCard(t)
	b := newFixture(t, token)
	pin := fakePIN
	k := b.mustOpen(t, "pkcs11:", Config{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(pin), nil }})
	token.pin = "975310"
	b.remove(0)
	b.insert(0, token)
	for range 5 {
		if err := signOnce(k); !errors.Is(err, signer.ErrPINIncorrect) {
			t.Errorf("error %v, want signer.ErrPINIncorrect", err)
		}
	}
	if token.wrong != 1 || b.called("login") != 2 {
		t.Errorf("%d tries were used in %d logins, want 1 in 2", token.wrong, b.called("login"))
	}
	pin = token.pin
	if err := signOnce(k); err != nil {
		t.Errorf("with the right PIN: %v", err)
	}
	if n := b.openSessions(); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
}

func TestWrongPINPerSignature(t *testing.T) {
	token := newCard(t)
	token.objects[1].values[ckaAlwaysAuthenticate] = []byte{1}
	b := newFixture(t, token)
	pin := fakePIN
	k := b.mustOpen(t, "pkcs11:", Config{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(pin), nil }})
	pin = "000000"
	for range 3 {
		if err := signOnce(k); !errors.Is(err, signer.ErrPINIncorrect) {
			t.Errorf("error %v, want signer.ErrPINIncorrect", err)
		}
	}
	if token.wrong != 1 {
		t.Errorf("%d tries were used, want 1", token.wrong)
	}
	pin = fakePIN
	if err := signOnce(k); err != nil {
		t.Error(err)
	}
}

// If it is unclear whether the token counted the PIN as incorrect, the login is
// not retried within the signature.
func TestUnclearLoginNotRetried(t *testing.T) {
	for _, e := range []Error{ckrDeviceError, ckrDeviceRemoved, ckrTokenNotPresent, ckrFunctionFailed, ckrUserNotLoggedIn, ckrGeneralError} {
		token := newCard(t)
		b := newFixture(t, token)
		k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
		b.remove(0)
		b.insert(0, token)
		before := b.called("login")
		b.fail("login", e, e, e, e)
		if err := signOnce(k); !errors.Is(err, e) {
			t.Errorf("error %v, want %v", err, e)
		}
		if n := b.called("login") - before; n != 1 {
			t.Errorf("%v: %d logins, want 1", e, n)
		}
	}
}

func TestLockedPIN(t *testing.T) {
	token := newCard(t)
	token.wrong = token.tries
	b := newFixture(t, token)
	var prompts []keystore.Prompt
	_, err := b.open(t, "pkcs11:", Config{PIN: recordPIN(&prompts, fakePIN)})
	if !errors.Is(err, signer.ErrPINLocked) || signer.Hint(err) == "" {
		t.Errorf("error %v, hint %q", err, signer.Hint(err))
	}
	if len(prompts) != 0 || b.called("login") != 0 {
		t.Error("prompt or login although the PIN is locked")
	}
	token.flags &^= cktFlagUserPINInitialized
	token.wrong = 0
	if _, err := b.open(t, "pkcs11:", Config{PIN: recordPIN(&prompts, fakePIN)}); !errors.Is(err, ckrUserPINNotInit) || len(prompts) != 0 {
		t.Errorf("without a user PIN: error %v, %d prompts", err, len(prompts))
	}
}

func TestPromptReportsTries(t *testing.T) {
	for wrong, want := range []keystore.Prompt{{}, {FewTries: true, TriesUnknown: true}, {FewTries: true, LastTry: true}} {
		token := newCard(t)
		token.wrong = wrong
		var prompts []keystore.Prompt
		newFixture(t, token).mustOpen(t, "pkcs11:object=key?pin-value=1", Config{PIN: recordPIN(&prompts, fakePIN)})
		want.What = "PIN"
		if want.TriesUnknown {
			want.Device = keystore.Ref{Scheme: "pkcs11", Rest: "token=card;serial=serial%20of%20card"}
		}
		want.Ref = keystore.Ref{Scheme: "pkcs11", Rest: "object=key"}
		if !slices.Equal(prompts, []keystore.Prompt{want}) {
			t.Errorf("after %d wrong PINs: prompts %+v, want %+v", wrong, prompts, want)
		}
		if token.wrong != 0 {
			t.Errorf("%d wrong PINs", token.wrong)
		}
	}
}

func TestLoginOnlyIfRequired(t *testing.T) {
	token := newCard(t)
	token.flags &^= cktFlagLoginRequired
	b := newFixture(t, token)
	var prompts []keystore.Prompt
	if err := signOnce(b.mustOpen(t, "pkcs11:", Config{PIN: recordPIN(&prompts, fakePIN)})); err != nil {
		t.Error(err)
	}
	if len(prompts) != 0 || b.called("login") != 0 {
		t.Error("logged in to a token that requires no login")
	}
	token = newCard(t)
	b = newFixture(t, token)
	for range 3 {
		b.mustOpen(t, "pkcs11:", Config{PIN: recordPIN(&prompts, fakePIN)})
	}
	if len(prompts) != 1 {
		t.Errorf("%d prompts for three keys of one token, want 1", len(prompts))
	}
	// Another thread of the process may log in first.
	token = newCard(t)
	b = newFixture(t, token)
	b.before = func(call string, _ int, _ []byte) Error {
		if call != "login" {
			return 0
		}
		token.loggedIn = true
		return ckrUserAlreadyLoggedIn
	}
	if err := signOnce(b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})); err != nil {
		t.Errorf("already logged in: %v", err)
	}
}

func TestAlwaysAuthenticate(t *testing.T) {
	token := newCard(t)
	token.objects[1].values[ckaAlwaysAuthenticate] = []byte{1}
	b := newFixture(t, token)
	var prompts []keystore.Prompt
	k := b.mustOpen(t, "pkcs11:", Config{PIN: recordPIN(&prompts, fakePIN)})
	for range 3 {
		if err := signOnce(k); err != nil {
			t.Error(err)
		}
	}
	var per []bool
	for _, p := range prompts {
		per = append(per, p.PerSignature)
	}
	if !slices.Equal(per, []bool{false, true, true, true}) {
		t.Errorf("PerSignature of the prompts: %v", per)
	}
}

func TestProtectedPath(t *testing.T) {
	token := newCard(t)
	token.flags |= cktFlagProtectedPath
	token.objects[1].values[ckaAlwaysAuthenticate] = []byte{1}
	b := newFixture(t, token)
	var prompts []keystore.Prompt
	if err := signOnce(b.mustOpen(t, "pkcs11:", Config{PIN: recordPIN(&prompts, fakePIN)})); err != nil {
		t.Error(err)
	}
	if token.nilPINLogins != 2 || len(prompts) != 0 {
		t.Errorf("%d logins without PIN, %d prompts; want 2 and 0", token.nilPINLogins, len(prompts))
	}
}

// Without permission the device does not ask for the PIN.
func TestProtectedPathNotPermitted(t *testing.T) {
	token := newCard(t)
	token.flags |= cktFlagProtectedPath
	b := newFixture(t, token)
	refused := errors.New("refused")
	_, err := b.open(t, "pkcs11:", Config{permit: func(p keystore.Prompt) error {
		if p.What != keystore.AskPIN {
			t.Errorf("%+v", p)
		}
		return refused
	}})
	if !errors.Is(err, refused) || token.nilPINLogins != 0 {
		t.Errorf("error %v after %d logins", err, token.nilPINLogins)
	}
}
