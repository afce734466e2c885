package flags

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/file"
	"github.com/holdfast-dev/holdfast/signer"
)

// fakeTTY gives the same answer to every prompt and counts the prompts.
type fakeTTY struct {
	answer string
	asked  *int
}

func (d fakeTTY) ReadPassword(context.Context, string) ([]byte, error) {
	*d.asked++
	return []byte(d.answer), nil
}

func (fakeTTY) Print(string) error { return nil }
func (fakeTTY) Close() error       { return nil }

// A word that is similar to prompt or pinentry is a typing error, and is not quoted.
func TestWordAsPINSource(t *testing.T) {
	t.Chdir(t.TempDir())
	for word, want := range map[string]string{"promt": "did you mean --pin-source prompt?", "PROMPT": "--pin-source prompt", "pinentri": "--pin-source pinentry", "secret": "file:PATH"} {
		source, err := ParsePINSource(word)
		if err != nil {
			t.Fatal(err)
		}
		read, err := keystore.New(file.Backend{}).PINSource(source.Ref, keystore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = source.Quiet(read)(t.Context(), keystore.Prompt{What: keystore.AskPIN})
		if !errors.Is(err, signer.ErrPINRequired) || !strings.Contains(signer.Hint(err), want) || strings.Contains(err.Error(), word) {
			t.Errorf("%s: error %v, hint %q", word, err, signer.Hint(err))
		}
	}
}

// A key that seems to have no password causes no prompt. A password that was
// set is used nevertheless, since the key file may be wrong.
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
	unknown := tpmKey
	unknown.TriesUnknown = true
	for _, c := range []struct {
		name  string
		key   Key
		p     keystore.Prompt
		want  string
		err   error
		asked int
	}{
		{"nothing", Key{}, tpmKey, "typed", nil, 1},
		{"nothing, optional", Key{}, optional, "", nil, 0},
		{"nothing, last try", Key{}, last, "typed", nil, 1},
		{"nothing, optional and last try", Key{}, both, "", nil, 0},
		{"prompt", Key{PINSource: PINSource{Prompt: true}}, tpmKey, "typed", nil, 1},
		{"prompt, optional", Key{PINSource: PINSource{Prompt: true}}, optional, "typed", nil, 1},
		{"reuse", Key{pins: pins{reuse: true}}, optional, "", nil, 0},
		{"file", Key{PINSource: PINSource{Ref: keystore.Ref{Scheme: "file", Rest: path}}}, tpmKey, "from file", nil, 0},
		{"file, optional", Key{PINSource: PINSource{Ref: keystore.Ref{Scheme: "file", Rest: path}}}, optional, "from file", nil, 0},
		{"file, last try", Key{PINSource: PINSource{Ref: keystore.Ref{Scheme: "file", Rest: path}}}, last, "", signer.ErrPINRequired, 0},
		{"file, unknown tries", Key{PINSource: PINSource{Ref: keystore.Ref{Scheme: "file", Rest: path}}}, unknown, "", signer.ErrPINRequired, 0},
		{"nothing, unknown tries", Key{}, unknown, "typed", nil, 1},
		{"variable, optional", Key{PINSource: PINSource{Ref: keystore.Ref{Scheme: "env", Rest: "PIN"}}}, optional, "from env", nil, 0},
		{"flag", Key{pins: pins{tpm: new("flag")}}, tpmKey, "flag", nil, 0},
		{"flag, optional", Key{pins: pins{tpm: new("flag")}}, optional, "flag", nil, 0},
		{"flag, last try", Key{pins: pins{tpm: new("flag")}}, last, "flag", signer.ErrPINRequired, 0},
		{"flag, for another prompt", Key{pins: pins{tpm: new("flag")}}, pin, "typed", nil, 1},
		{"flag of a file, for a TPM key", Key{pins: pins{password: new("flag")}}, tpmKey, "typed", nil, 1},
		{"no password", Key{pins: pins{noTPM: true}}, tpmKey, "", nil, 0},
		{"no password, optional", Key{pins: pins{noTPM: true}}, optional, "", nil, 0},
		{"no password, for another prompt", Key{pins: pins{noTPM: true}}, pin, "typed", nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := 0
			a := front.App{
				Store:     keystore.New(file.Backend{}),
				LookupEnv: func(string) (string, bool) { return "from env", true },
				OpenTTY:   func() (front.TTY, error) { return fakeTTY{"typed", &asked}, nil },
			}
			ask, err := c.key.pinFunc(a, keystore.Options{LookupEnv: a.LookupEnv})
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
