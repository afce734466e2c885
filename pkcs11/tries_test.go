package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// operations are all operations that log in.
var operations = map[string]func(t *testing.T, b *fixture, cfg Config) error{
	"open": func(t *testing.T, b *fixture, cfg Config) error {
		k, err := open(t.Context(), cfg, b.table)
		if err != nil {
			return err
		}
		return errors.Join(signOnce(k), k.Close())
	},
	"attest": func(t *testing.T, b *fixture, cfg Config) error {
		_, err := attest(t.Context(), cfg, b.table)
		return err
	},
	"list": func(t *testing.T, b *fixture, cfg Config) error {
		_, err := list(t.Context(), cfg, b.table)
		return err
	},
	"generate": func(t *testing.T, b *fixture, cfg Config) error {
		cfg.URI.Object, cfg.URI.ID = "new", "\x07"
		_, err := generate(t.Context(), cfg, ecGenerator(ckmECKeyPairGen, ckkEC, p256OID), b.table)
		return err
	},
	"install": func(t *testing.T, b *fixture, cfg Config) error {
		_, err := install(t.Context(), cfg, only(issue(t, signertest.Key(t, "p256"))), b.table)
		return err
	},
}

// machineConfig returns the Config for a reference whose PIN no person gives.
func (b *fixture) machineConfig(t *testing.T, query string) Config {
	t.Helper()
	cfg, err := configFor(keystore.Ref{Scheme: "pkcs11", Rest: "token=card;object=key" + query}, keystore.Call{Options: keystore.Options{
		LookupEnv: func(string) (string, bool) { return "000000", true },
	}})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Module = b.path
	return cfg
}

// What tokens show of their tries.
var shown = map[string]uint{ // the flags that they hide
	"all flags":                   0,
	"not the last try":            cktFlagUserPINFinalTry,
	"only the last try":           cktFlagUserPINCountLow,
	"nothing":                     pinFlags,
	"nothing before it is locked": cktFlagUserPINCountLow | cktFlagUserPINFinalTry,
}

// However often a service restarts with a wrong PIN, the last try is left, and
// each start says why it failed. The tries that are counted are told apart. Only
// if a token shows nothing, or nothing before the last try, more than one is used.
func TestRestartsLeaveTheLastTry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(file, []byte("000000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, run := range operations {
		for _, query := range []string{"?pin-value=000000", "?pin-source=" + file, "?pin-source=file:" + file, "?pin-source=env:PIN", ""} {
			for flags, hidden := range shown {
				for _, tries := range []int{3, 10} {
					token := newCard(t)
					token.tries, token.hidden = tries, hidden
					b := newFixture(t, token)
					starts, want := 20, 1
					switch {
					case query == "":
						want = 0
					case hidden == cktFlagUserPINCountLow:
						want = tries - 1
					case hidden&cktFlagUserPINCountLow != 0: // each start uses one
						starts, want = tries, tries
					}
					wrong := 0
					for start := range starts {
						b.restart()
						err := run(t, b, b.machineConfig(t, query))
						counted := token.wrong > wrong
						wrong = token.wrong
						switch {
						case query == "" && name == "list": // it shows what is visible without a PIN
						case !isPINError(err):
							t.Errorf("%s%s, start %d: error %v", name, query, start, err)
						case errors.Is(err, signer.ErrTryCounted) != counted:
							t.Errorf("%s%s, start %d: error %v, but the token counted a try: %t", name, query, start, err, counted)
						}
					}
					if token.wrong != want {
						t.Errorf("%s%s, %s: %d of %d tries were used, want %d", name, query, flags, token.wrong, tries, want)
					}
				}
			}
		}
	}
}

func isPINError(err error) bool {
	return errors.Is(err, signer.ErrPINRequired) || errors.Is(err, signer.ErrPINIncorrect) || errors.Is(err, signer.ErrPINLocked)
}

// A process sends a wrong PIN once, whatever a token shows, and another one once
// more. With the third one it uses no try, if there are at least three: the PIN
// that is right is used after a person has logged in.
func TestProcessUsesAPINOnce(t *testing.T) {
	for name, run := range operations {
		for flags, hidden := range shown {
			token := newCard(t)
			token.hidden = hidden
			b := newFixture(t, token)
			b.mustOpenModule(t)
			for step, want := range []int{1, 2, 2, 2} {
				for range 5 {
					if err := run(t, b, b.machineConfig(t, fmt.Sprintf("?pin-value=00000%d", step))); !isPINError(err) {
						t.Errorf("%s, %s: error %v", name, flags, err)
					}
				}
				if token.wrong != want {
					t.Errorf("%s, %s: %d tries were used with %d wrong PINs, want %d", name, flags, token.wrong, step+1, want)
				}
			}
			if err := run(t, b, b.machineConfig(t, "?pin-value="+fakePIN)); !errors.Is(err, signer.ErrPINRequired) || !strings.Contains(signer.Hint(err), "Options.PIN") {
				t.Errorf("%s, %s: error %v, hint %q", name, flags, err, signer.Hint(err))
			}
			if hidden == cktFlagUserPINCountLow { // its flags say that it is the last one
				continue
			}
			b.mustOpen(t, "pkcs11:object=key", Config{PIN: fixedPIN(fakePIN)}).Close() // typed
			if err := run(t, b, b.machineConfig(t, "?pin-value="+fakePIN)); err != nil {
				t.Errorf("%s, %s: after a login: %v", name, flags, err)
			}
		}
	}
}

// After one wrong PIN, a process uses the right one by itself when its source is
// corrected, and starts from nothing then.
func TestCorrectedPIN(t *testing.T) {
	for flags, hidden := range shown {
		token := newCard(t)
		token.hidden = hidden
		b := newFixture(t, token)
		for range 4 {
			for range 2 {
				if err := operations["open"](t, b, b.machineConfig(t, "?pin-value=000000")); !errors.Is(err, signer.ErrTryCounted) {
					t.Errorf("%s: error %v", flags, err)
				}
			}
			if err := operations["open"](t, b, b.machineConfig(t, "?pin-value="+fakePIN)); err != nil || token.wrong != 0 {
				t.Errorf("%s: %d tries used, error %v", flags, token.wrong, err)
			}
		}
	}
}

// A process that has used the token before reconnects although another program
// used one try meanwhile, but a new process does not start.
func TestTryOfAnotherProgram(t *testing.T) {
	token := newCard(t)
	b := newFixture(t, token)
	k := b.mustOpen(t, "pkcs11:?pin-value="+fakePIN, Config{})
	token.wrong = 1
	b.remove(0)
	b.insert(0, token)
	if err := signOnce(k); err != nil || token.wrong != 0 {
		t.Errorf("error %v, %d tries used", err, token.wrong)
	}
	token.wrong = 1
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	b.restart()
	logins := b.called("login")
	if err := operations["open"](t, b, b.machineConfig(t, "?pin-value="+fakePIN)); !errors.Is(err, signer.ErrPINRequired) || errors.Is(err, signer.ErrTryCounted) || b.called("login") != logins {
		t.Errorf("error %v", err)
	}
}

// If another program uses a try between the prompt and the login, a PIN that does
// not come from a person is not sent any more.
func TestTryMeanwhile(t *testing.T) {
	for _, wrong := range []int{1, 2} {
		token := newCard(t)
		token.tries = 4
		b := newFixture(t, token)
		tokens, err := tokens(b.mustOpenModule(t), URI{})
		if err != nil {
			t.Fatal(err)
		}
		tokens[0].tally().used = true // read the flags again
		_, err = b.open(t, "pkcs11:", Config{PIN: func(context.Context, keystore.Prompt) ([]byte, error) {
			token.wrong = wrong
			return []byte("000000"), nil
		}})
		if !errors.Is(err, signer.ErrPINRequired) || token.wrong != wrong || signer.Hint(err) == "" {
			t.Errorf("error %v, %d tries used", err, token.wrong)
		}
	}
}

// Keys that are opened at the same time do not use the last try together.
func TestConcurrentLoginsLeaveTheLastTry(t *testing.T) {
	for left, want := range map[int]int{3: 2, 2: 1, 1: 2} {
		token := newCard(t)
		token.wrong = token.tries - left
		b := newFixture(t, token)
		b.mustOpenModule(t)
		var wg sync.WaitGroup
		for i := range 12 {
			cfg := b.machineConfig(t, fmt.Sprintf("?pin-value=00000%x", i))
			run := []func(*testing.T, *fixture, Config) error{operations["open"], operations["list"], operations["generate"]}[i%3]
			wg.Go(func() {
				if err := run(t, b, cfg); !errors.Is(err, signer.ErrPINRequired) && !errors.Is(err, signer.ErrPINIncorrect) {
					t.Errorf("error %v", err)
				}
			})
		}
		wg.Wait()
		if token.wrong != want {
			t.Errorf("%d tries left before: %d of %d are used, want %d", left, token.wrong, token.tries, want)
		}
	}
}

// mustOpenModule keeps the module loaded until the end of the test.
func (b *fixture) mustOpenModule(t *testing.T) *sharedModule {
	t.Helper()
	mod, err := b.table.open(b.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mod.release() })
	return mod
}

// A key that needs its PIN for each signature does not use the last try either.
func TestSignaturesLeaveTheLastTry(t *testing.T) {
	for left, want := range map[int]int{3: 1, 2: 2, 1: 2} {
		token := newCard(t)
		token.objects[1].values[ckaAlwaysAuthenticate] = []byte{1}
		b := newFixture(t, token)
		var keys []*Key
		for range 6 {
			k, err := open(t.Context(), b.machineConfig(t, "?pin-value="+fakePIN), b.table)
			if err != nil {
				t.Fatal(err)
			}
			defer k.Close()
			keys = append(keys, k)
		}
		token.pin, token.wrong = "975310", token.tries-left // changed by another program
		var wg sync.WaitGroup
		for _, k := range keys {
			for range 3 {
				wg.Go(func() {
					if err := signOnce(k); !errors.Is(err, signer.ErrPINRequired) && !errors.Is(err, signer.ErrPINIncorrect) {
						t.Errorf("error %v", err)
					}
				})
			}
		}
		wg.Wait()
		if token.wrong != want {
			t.Errorf("%d tries left before: %d of %d are used, want %d", left, token.wrong, token.tries, want)
		}
	}
}
