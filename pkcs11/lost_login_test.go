package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A crashing is a module whose helper ends in the next logins, after the token has checked
// the PIN.
type crashing struct {
	*fakeModule
	logins int
}

func (c *crashing) login(session, user uint, pin []byte) error {
	err := c.fakeModule.login(session, user, pin)
	if c.logins == 0 {
		return err
	}
	c.logins--
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.sessions {
		c.endSession(s)
	}
	return &endedError{"module", errEnded, true}
}

// crash returns a fixture whose helper ends in the next logins.
func crash(t *testing.T, token *fakeToken, logins int) (*fixture, *crashing) {
	t.Helper()
	b := newFixture(t, token)
	c := &crashing{b.fakeModule, logins}
	load := b.table.load
	b.table.load = func(path string) (module, error) { _, err := load(path); return c, err }
	return b, c
}

// After a login that ended the helper, a PIN that no person types is not sent again,
// whatever the token shows. Another one is, once.
func TestLostLogin(t *testing.T) {
	for name, run := range operations {
		for flags, hidden := range shown {
			for _, right := range []bool{true, false} {
				token := newCard(t)
				token.hidden = hidden
				if !right {
					token.pin = "975310"
				}
				b, _ := crash(t, token, 1)
				for n := range 5 {
					err := run(t, b, b.machineConfig(t, "?pin-value="+fakePIN))
					if n == 0 && !errors.As(err, new(*endedError)) || !errors.Is(err, signer.ErrPINRequired) || !errors.Is(err, signer.ErrTryCounted) {
						t.Errorf("%s, %s, login %d: error %v", name, flags, n, err)
					}
				}
				if n := b.called("login"); n != 1 {
					t.Errorf("%s, %s: %d logins, want 1", name, flags, n)
				}
				if hidden == cktFlagUserPINCountLow { // its flags say that the next try is the last one
					continue
				}
				token.pin = "246802"
				if err := run(t, b, b.machineConfig(t, "?pin-value=246802")); err != nil {
					t.Errorf("%s, %s: with another PIN: %v", name, flags, err)
				}
			}
		}
	}
}

// However many PINs there are in files, those with which logins ended the helper use two
// tries at most, as those that the token refused do.
func TestLostLoginsLeaveTheLastTry(t *testing.T) {
	for flags, hidden := range shown {
		token := newCard(t)
		token.hidden = hidden
		b, _ := crash(t, token, 10)
		for n := range 10 {
			if err := operations["open"](t, b, b.machineConfig(t, fmt.Sprintf("?pin-value=00000%d", n))); err == nil {
				t.Errorf("%s: no error", flags)
			}
		}
		if token.wrong == 0 || token.wrong > 2 {
			t.Errorf("%s: %d tries used, want 1 or 2", flags, token.wrong)
		}
	}
}

// A person who types the PIN again is told that it may be the last try. Then it is sent,
// each time: that is a new decision. Once the token accepts it, everything is as before.
func TestLostLoginTypedAgain(t *testing.T) {
	b, c := crash(t, newCard(t), 3)
	for n := range 4 {
		var prompts []keystore.Prompt
		k, err := b.open(t, "pkcs11:object=key", Config{PIN: recordPIN(&prompts, fakePIN)})
		var warned []bool
		for _, p := range prompts {
			warned = append(warned, p.TriesUnknown)
		}
		if want := []string{"[false]", "[false true]", "[true]", "[true]"}[n]; fmt.Sprint(warned) != want {
			t.Errorf("login %d: TriesUnknown in the prompts is %v, want %s", n, warned, want)
		}
		if (err == nil) != (n == 3) || n < 3 && !errors.As(err, new(*endedError)) {
			t.Errorf("login %d: error %v", n, err)
		}
		if k != nil {
			k.Close()
		}
	}
	if n := b.called("login"); n != 4 || c.logins != 0 {
		t.Errorf("%d logins, want 4", n)
	}
	if err := operations["open"](t, b, b.machineConfig(t, "?pin-value="+fakePIN)); err != nil {
		t.Errorf("after a login: %v", err)
	}
}

// The error of a PIN that is not sent again says why, also if nobody can be asked.
func TestLostLoginHint(t *testing.T) {
	b, _ := crash(t, newCard(t), 1)
	cfg := b.machineConfig(t, "?pin-value="+fakePIN)
	_ = operations["open"](t, b, cfg)
	err := operations["open"](t, b, cfg)
	if !errors.As(err, new(unknownResultError)) || !errors.Is(err, signer.ErrTryCounted) || !strings.Contains(signer.Hint(err), "type the PIN") {
		t.Errorf("error %v, hint %q", err, signer.Hint(err))
	}
}

// A neverFinalized is the same module in another process.
type neverFinalized struct{ *fakeModule }

func (neverFinalized) finalize() error { return nil }

// The token is the same whether its module runs in this process or in a helper: while one
// login may use a try, no other one does.
func TestOneLoginForBothKindsOfModules(t *testing.T) {
	b := newFixture(t, newCard(t))
	b.table.isolate = func(string, string, []string, func(abandoner), func()) (module, error) {
		return neverFinalized{b.fakeModule}, nil
	}
	here := b.mustOpenModule(t)
	isolated, err := b.table.openIsolated(b.path, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = isolated.release() }()
	one := func(mod *sharedModule) token {
		all, err := tokens(mod, URI{})
		if err != nil || len(all) != 1 {
			t.Fatalf("%d tokens, error %v", len(all), err)
		}
		return all[0]
	}
	first, second := one(here), one(isolated)
	b.before = func(call string, _ int, _ []byte) Error {
		if call == "login" && second.tally().tries.TryLock() {
			second.tally().tries.Unlock()
			t.Error("another login may begin meanwhile")
		}
		return 0
	}
	session, err := here.openSession(first.slot, false)
	if err != nil {
		t.Fatal(err)
	}
	pin := func(_ context.Context, p keystore.Prompt) ([]byte, error) { return []byte("000000"), p.RefuseLastTry() }
	for _, c := range []struct {
		of   token
		want error
	}{{first, ckrPINIncorrect}, {second, notRetriedError{}}} {
		d := (&authenticator{ask: pin}).begin(t.Context())
		if err := d.login(c.of, session); !errors.Is(err, c.want) {
			t.Errorf("error %v, want %v", err, c.want)
		}
		d.end()
	}
	if n := b.called("login"); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}
