package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A terminalDouble is a person who answers every prompt.
type terminalDouble struct {
	answer string
	asked  *int
}

func (d terminalDouble) ReadPassword(context.Context, string) ([]byte, error) {
	*d.asked++
	return []byte(d.answer), nil
}

func (terminalDouble) Close() error { return nil }

// A key that seems to have no password bothers nobody. What was given for it is
// given all the same, since its file may be wrong.
func TestOptionalPassword(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(path, []byte("from file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tpmKey, pin := keystore.Prompt{What: keystore.AskTPMKey}, keystore.Prompt{What: keystore.AskPIN}
	optional, last := tpmKey, tpmKey
	optional.Optional, last.LastTry = true, true
	both := optional
	both.LastTry = true
	for _, c := range []struct {
		name  string
		flags identityFlags
		p     keystore.Prompt
		want  string
		err   error
		asked int
	}{
		{"nothing", identityFlags{}, tpmKey, "typed", nil, 1},
		{"nothing, optional", identityFlags{}, optional, "", nil, 0},
		{"nothing, last try", identityFlags{}, last, "typed", nil, 1},
		{"nothing, optional and last try", identityFlags{}, both, "", nil, 0},
		{"prompt", identityFlags{pinSource: "prompt"}, tpmKey, "typed", nil, 1},
		{"prompt, optional", identityFlags{pinSource: "prompt"}, optional, "typed", nil, 1},
		{"reuse", identityFlags{reusePIN: true}, optional, "", nil, 0},
		{"file", identityFlags{pinSource: path}, tpmKey, "from file", nil, 0},
		{"file, optional", identityFlags{pinSource: path}, optional, "from file", nil, 0},
		{"file, last try", identityFlags{pinSource: path}, last, "", signer.ErrPINRequired, 0},
		{"variable, optional", identityFlags{pinSource: "env:PIN"}, optional, "from env", nil, 0},
		{"flag", identityFlags{tpmPassword: "flag"}, tpmKey, "flag", nil, 0},
		{"flag, optional", identityFlags{tpmPassword: "flag"}, optional, "flag", nil, 0},
		{"flag, last try", identityFlags{tpmPassword: "flag"}, last, "flag", signer.ErrPINRequired, 0},
		{"flag, for another prompt", identityFlags{tpmPassword: "flag"}, pin, "typed", nil, 1},
		{"flag of a file, for a TPM key", identityFlags{password: "flag"}, tpmKey, "typed", nil, 1},
		{"no password", identityFlags{noTPMPassword: true}, tpmKey, "", nil, 0},
		{"no password, optional", identityFlags{noTPMPassword: true}, optional, "", nil, 0},
		{"no password, for another prompt", identityFlags{noTPMPassword: true}, pin, "typed", nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := 0
			a := app{
				lookupEnv: func(string) (string, bool) { return "from env", true },
				openTTY:   func() (tty, error) { return terminalDouble{"typed", &asked}, nil },
			}
			ask, err := a.pinSource(&c.flags, keystore.Options{LookupEnv: a.lookupEnv})
			if err != nil {
				t.Fatal(err)
			}
			got, err := ask(t.Context(), c.p)
			if !errors.Is(err, c.err) || asked != c.asked || err == nil && string(got) != c.want {
				t.Errorf("got %q, error %v, asked %d times; want %q, %v, %d", got, err, asked, c.want, c.err, c.asked)
			}
		})
	}
}
