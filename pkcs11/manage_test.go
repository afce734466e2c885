package pkcs11

import (
	"errors"
	"io/fs"
	"testing"
)

// configOf returns a Config for the module of b. p enters the PIN.
func (b *fixture) configOf(t *testing.T, uri string, p *person) Config {
	t.Helper()
	u, err := ParseURI(uri)
	if err != nil {
		t.Fatal(err)
	}
	return Config{URI: u, Module: b.path, PIN: p.ask}
}

// Generate opens the new key without another prompt, unless the token allows
// only one session.
func TestGeneratePromptsOnce(t *testing.T) {
	for limit, prompts := range map[int]int{0: 1, 2: 1, 1: 2} {
		token := newFakeToken("hsm")
		token.limit = limit
		b := newFixture(t, token)
		p := person{pin: fakePIN}
		k, err := generate(t.Context(), b.configOf(t, "pkcs11:object=new", &p), ecGenerator(ckmECKeyPairGen, ckkEC, p256OID), b.table)
		if err != nil {
			t.Fatal(err)
		}
		if logins, _ := p.takePrompts(t); logins != prompts {
			t.Errorf("limit of %d sessions: %d prompts, want %d", limit, logins, prompts)
		}
		if n := b.openSessions(); n != 1 {
			t.Errorf("%d sessions are open, want only the session of the key", n)
		}
		if err := signOnce(k); err != nil {
			t.Error(err)
		}
		if err := k.Close(); err != nil || !b.finalized {
			t.Errorf("finalized: %t; error %v", b.finalized, err)
		}
	}
}

// After an error, no session and no module is open.
func TestGenerateErrors(t *testing.T) {
	for name, test := range map[string]struct {
		call string
		want error
	}{
		"token":               {"slots", ckrFunctionFailed},
		"login":               {"login", ckrFunctionFailed},
		"key pair":            {"generateKeyPair", ckrFunctionFailed},
		"opening the key":     {"slotInfo", ckrFunctionFailed},
		"closing the session": {"closeSession", ckrFunctionFailed},
		"existing name":       {"", fs.ErrExist},
	} {
		t.Run(name, func(t *testing.T) {
			token := newCard(t)
			b := newFixture(t, token)
			p := person{pin: fakePIN}
			uri := "pkcs11:object=new"
			if test.call == "" {
				uri = "pkcs11:object=key"
			} else {
				b.fail(test.call, ckrFunctionFailed)
			}
			k, err := generate(t.Context(), b.configOf(t, uri, &p), ecGenerator(ckmECKeyPairGen, ckkEC, p256OID), b.table)
			if !errors.Is(err, test.want) || k != nil {
				t.Errorf("%v, error %v, want %v", k, err, test.want)
			}
			left := 0
			if test.call == "closeSession" {
				left = 1
			}
			if !b.finalized || b.opened-b.closed != left || len(b.table.byPath) != 0 {
				t.Errorf("finalized: %t; %d sessions opened, %d closed", b.finalized, b.opened, b.closed)
			}
		})
	}
}
