package pkcs11

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A person enters pin at each prompt, and records the prompts.
type person struct {
	mu      sync.Mutex
	pin     string
	prompts []keystore.Prompt
	given   [][]byte
}

func (p *person) ask(_ context.Context, prompt keystore.Prompt) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prompts = append(p.prompts, prompt)
	p.given = append(p.given, []byte(p.pin))
	return p.given[len(p.given)-1], nil
}

// takePrompts returns and resets the number of prompts for logins and for
// signatures. It fails the test if a PIN is still in memory.
func (p *person) takePrompts(t *testing.T) (logins, signatures int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, prompt := range p.prompts {
		if prompt.PerSignature {
			signatures++
		} else {
			logins++
		}
		if !bytes.Equal(p.given[i], make([]byte, len(p.given[i]))) {
			t.Errorf("PIN is %q after use", p.given[i])
		}
	}
	p.prompts, p.given = nil, nil
	return logins, signatures
}

// newCardFor returns a key on a card. p enters the PIN of the card.
func newCardFor(t *testing.T, p *person, always bool, flags uint) (*fixture, *fakeToken, *Key) {
	t.Helper()
	token := newCard(t)
	token.flags |= flags
	if always {
		token.objects[1].values[ckaAlwaysAuthenticate] = []byte{1}
	}
	b := newFixture(t, token)
	p.pin = fakePIN
	k := b.mustOpen(t, "pkcs11:", Config{PIN: p.ask})
	if logins, signatures := p.takePrompts(t); flags == 0 && (logins != 1 || signatures != 0) {
		t.Errorf("Open: %d prompts for logins, %d for signatures", logins, signatures)
	}
	token.logins, token.nilPINLogins = 0, 0
	return b, token, k
}

// There is one prompt for a login and one for a signature, no matter how often
// the token is lost during the signature.
func TestPINPromptedOncePerSignature(t *testing.T) {
	for _, test := range []struct {
		always             bool
		call               string
		losses             []Error
		logins, signatures int // prompts
	}{
		{false, "sign2", nil, 0, 0},
		{false, "sign2", []Error{ckrDeviceRemoved, ckrDeviceRemoved, ckrDeviceRemoved}, 1, 0},
		{false, "sign", []Error{ckrDeviceRemoved, ckrDeviceRemoved, ckrDeviceRemoved}, 1, 0},
		{false, "sign2", []Error{ckrDeviceError, ckrDeviceError}, 0, 0},                   // still logged in
		{false, "login", []Error{ckrSessionHandleInvalid, ckrSessionHandleInvalid}, 1, 0}, // lost during the prompt
		{true, "sign2", nil, 0, 1},
		{true, "sign2", []Error{ckrDeviceRemoved, ckrDeviceRemoved, ckrDeviceRemoved}, 1, 1},
		{true, "sign", []Error{ckrDeviceRemoved, ckrDeviceRemoved, ckrDeviceRemoved}, 1, 1},
		{true, "sign2", []Error{ckrDeviceError, ckrDeviceError, ckrDeviceError}, 0, 1},
	} {
		var p person
		b, token, k := newCardFor(t, &p, test.always, 0)
		for range 2 { // the second signature does not use the PIN of the first
			if test.call == "login" {
				b.fail("sign2", ckrDeviceRemoved)
			}
			b.fail(test.call, test.losses...)
			if err := signOnce(k); err != nil {
				t.Errorf("%+v: %v", test, err)
			}
			if logins, signatures := p.takePrompts(t); logins != test.logins || signatures != test.signatures {
				t.Errorf("%+v: prompts for %d logins and %d signatures", test, logins, signatures)
			}
		}
		if token.wrong != 0 {
			t.Errorf("%+v: %d wrong PINs", test, token.wrong)
		}
	}
}

// The PIN is also cleared after a signature that fails.
func TestPINClearedAfterFailedSignature(t *testing.T) {
	for _, always := range []bool{false, true} {
		var p person
		b, token, k := newCardFor(t, &p, always, 0)
		b.before = func(call string, _ int, _ []byte) Error {
			if call == "sign2" {
				return ckrDeviceRemoved
			}
			return 0
		}
		if err := signOnce(k); !errors.Is(err, ckrDeviceRemoved) {
			t.Errorf("always %t: error %v", always, err)
		}
		if n := b.called("sign2"); n != maxAttempts {
			t.Errorf("always %t: %d attempts", always, n)
		}
		logins, signatures := p.takePrompts(t)
		if logins != 1 || (signatures == 1) != always {
			t.Errorf("always %t: prompts for %d logins and %d signatures", always, logins, signatures)
		}
		if !bytes.Equal(token.lastPIN, make([]byte, len(fakePIN))) {
			t.Errorf("the PIN passed to login is still %q", token.lastPIN)
		}
	}
}

// There is another prompt if the token reports an incorrect PIN since the
// first.
func TestKeptPINNotUsedAfterWrongPIN(t *testing.T) {
	for _, always := range []bool{false, true} {
		for wrong, want := range []keystore.Prompt{{}, {FewTries: true}, {FewTries: true, LastTry: true}} {
			var p person
			b, token, k := newCardFor(t, &p, always, 0)
			losses := 0
			b.before = func(call string, _ int, _ []byte) Error {
				if call != "sign2" || losses == 2 {
					return 0
				}
				if losses++; losses == 2 {
					token.wrong = wrong // by another process
				}
				return ckrDeviceRemoved
			}
			if err := signOnce(k); err != nil {
				t.Error(err)
			}
			var again []keystore.Prompt
			for _, prompt := range p.prompts {
				if prompt.FewTries || prompt.LastTry {
					again = append(again, keystore.Prompt{FewTries: prompt.FewTries, LastTry: prompt.LastTry})
				}
			}
			// The next login resets the counter.
			if want != (keystore.Prompt{}) && (len(again) != 1 || again[0] != want) || want == (keystore.Prompt{}) && again != nil {
				t.Errorf("always %t, %d wrong PINs: prompts %+v, want %+v", always, wrong, again, want)
			}
			p.takePrompts(t)
			if token.wrong != 0 {
				t.Errorf("%d wrong PINs", token.wrong)
			}
		}
	}
}

// The PIN is changed between two attempts of one signature.
func TestKeptPINRefused(t *testing.T) {
	var p person
	b, token, k := newCardFor(t, &p, false, 0)
	losses := 0
	b.before = func(call string, _ int, _ []byte) Error {
		if call != "sign2" {
			return 0
		}
		if losses++; losses == 2 {
			token.pin = "975310"
		}
		return ckrDeviceRemoved
	}
	if err := signOnce(k); !errors.Is(err, signer.ErrPINIncorrect) {
		t.Errorf("error %v, want signer.ErrPINIncorrect", err)
	}
	if logins, _ := p.takePrompts(t); logins != 1 || token.wrong != 1 {
		t.Errorf("%d prompts and %d wrong PINs, want one of each", logins, token.wrong)
	}
}

// A PIN is used only for the token that accepted it.
func TestKeptPINNotUsedForAnotherToken(t *testing.T) {
	for _, change := range []func(*tokenInfo){
		func(i *tokenInfo) { i.serial = "another" },
		func(i *tokenInfo) { i.label = "another" },
	} {
		var p person
		info := newFakeToken("card").tokenInfo
		use := info.loginTarget(ckuUser)
		d := newAuthenticator(Config{PIN: p.ask}).begin(t.Context())
		d.pins = map[loginTarget][]byte{use: []byte(fakePIN)}
		change(&info)
		p.pin = "typed"
		pin, err := d.pin(info, ckuUser, false)
		if err != nil || string(pin) != "typed" {
			t.Errorf("PIN for another token: %q, error %v", pin, err)
		}
		if pin, err = d.pin(newFakeToken("card").tokenInfo, ckuUser, false); err != nil || string(pin) != fakePIN {
			t.Errorf("PIN for the same token: %q, error %v", pin, err)
		}
	}
}

// A device with a protected authentication path asks for the PIN at most twice
// per signature, no matter how often the token is lost.
func TestProtectedPathIsBounded(t *testing.T) {
	for _, test := range []struct {
		always bool
		losses int
		ok     bool
		pads   int
	}{
		{false, 1, true, 1}, {false, 2, true, 2}, {false, 3, false, 2},
		{true, 0, true, 1},
		{true, 1, false, 2}, // signature, and login after the loss: none is left for the signature
	} {
		var p person
		b, token, k := newCardFor(t, &p, test.always, cktFlagProtectedPath)
		for range test.losses {
			b.fail("sign2", ckrDeviceRemoved)
		}
		err := signOnce(k)
		if (err == nil) != test.ok || err != nil && !errors.Is(err, ckrDeviceRemoved) {
			t.Errorf("%+v: error %v", test, err)
		}
		if token.nilPINLogins != test.pads || len(p.prompts) != 0 {
			t.Errorf("%+v: %d prompts on the device, %d in software", test, token.nilPINLogins, len(p.prompts))
		}
		if err := signOnce(k); err != nil {
			t.Errorf("%+v: the next signature: %v", test, err)
		}
	}
}

// After the removal of a card between two signatures, the next one requires a
// login and its own PIN, which is within the limit.
func TestProtectedPathAfterRemoval(t *testing.T) {
	var p person
	b, token, k := newCardFor(t, &p, true, cktFlagProtectedPath)
	b.remove(0)
	b.insert(0, token)
	if err := signOnce(k); err != nil || token.nilPINLogins != 2 {
		t.Errorf("error %v after %d prompts", err, token.nilPINLogins)
	}
}

// The first login uses the flags from the enumeration. Logins for signatures
// read them again.
func TestTokenInfoReadOnce(t *testing.T) {
	for _, always := range []bool{false, true} {
		var p person
		b, _, k := newCardFor(t, &p, always, 0)
		if n := b.called("tokenInfo"); n != 1 {
			t.Errorf("always %t: Open read the token info %d times", always, n)
		}
		for range 2 {
			if err := signOnce(k); err != nil {
				t.Error(err)
			}
		}
		want := 1
		if always {
			want = 3
		}
		if n := b.called("tokenInfo"); n != want {
			t.Errorf("always %t: token info read %d times after two signatures, want %d", always, n, want)
		}
	}
}
