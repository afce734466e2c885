package pkcs11

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	"list": func(t *testing.T, b *fixture, cfg Config) error {
		_, err := list(t.Context(), cfg, b.table)
		return err
	},
	"generate": func(t *testing.T, b *fixture, cfg Config) error {
		cfg.URI.Object, cfg.URI.ID = "new", "\x07"
		_, err := generate(t.Context(), cfg, keyGenerators[keystore.P256], b.table)
		return err
	},
	"install": func(t *testing.T, b *fixture, cfg Config) error {
		return installChain(t.Context(), cfg, []*x509.Certificate{issue(t, signertest.Key(t, "p256"))}, b.table)
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

// However often a service restarts with a wrong PIN, the last try is left, and
// each start says why it failed. The tries that are counted are told apart.
func TestRestartsLeaveTheLastTry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(file, []byte("000000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, run := range operations {
		for _, query := range []string{"?pin-value=000000", "?pin-source=" + file, "?pin-source=file:" + file, "?pin-source=env:PIN", ""} {
			for _, tries := range []int{3, 10} {
				token := newCard(t)
				token.tries = tries
				b := newFixture(t, token)
				wrong := 0
				for start := range 20 {
					err := run(t, b, b.machineConfig(t, query))
					counted := token.wrong > wrong
					wrong = token.wrong
					switch {
					case query == "" && name == "list": // it shows what is visible without a PIN
					case err == nil || !errors.Is(err, signer.ErrPINRequired) && !errors.Is(err, signer.ErrPINIncorrect):
						t.Errorf("%s%s, start %d: error %v", name, query, start, err)
					case errors.Is(err, signer.ErrTryCounted) != counted:
						t.Errorf("%s%s, start %d: error %v, but the token counted a try: %t", name, query, start, err, counted)
					}
				}
				want := tries - 1
				if query == "" {
					want = 0
				}
				if token.wrong != want {
					t.Errorf("%s%s: %d of %d tries were used, want %d", name, query, token.wrong, tries, want)
				}
				token.wrong = 0
			}
		}
	}
}

// Keys that are opened at the same time do not use the last try together.
func TestConcurrentLoginsLeaveTheLastTry(t *testing.T) {
	for _, left := range []int{3, 2, 1} {
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
		if token.wrong != token.tries-1 {
			t.Errorf("%d tries left before: %d of %d are used, want %d", left, token.wrong, token.tries, token.tries-1)
		}
	}
}

// mustOpenModule keeps the module loaded until the end of the test.
func (b *fixture) mustOpenModule(t *testing.T) {
	t.Helper()
	mod, err := b.table.open(b.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mod.release() })
}

// A key that needs its PIN for each signature does not use the last try either.
func TestSignaturesLeaveTheLastTry(t *testing.T) {
	for _, left := range []int{3, 2, 1} {
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
		if token.wrong != token.tries-1 {
			t.Errorf("%d tries left before: %d of %d are used, want %d", left, token.wrong, token.tries, token.tries-1)
		}
	}
}
