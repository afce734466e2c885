package front

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// fakeTTY answers each prompt with the next of lines and records the prompts.
type fakeTTY struct {
	lines []string
	asked *[]string
}

func (p *fakeTTY) ReadPassword(_ context.Context, prompt string) ([]byte, error) {
	*p.asked = append(*p.asked, prompt)
	if len(p.lines) == 0 {
		return nil, errors.New("no more input")
	}
	line := p.lines[0]
	p.lines = p.lines[1:]
	return []byte(line), nil
}

func (p *fakeTTY) Print(line string) error {
	*p.asked = append(*p.asked, line)
	return nil
}

func (*fakeTTY) Close() error { return nil }

// The text of an error does not name the Go context.
func TestPromptErrors(t *testing.T) {
	for err, want := range map[error]string{
		context.Canceled: "prompt: interrupted", errors.New("the input is empty"): "prompt: the input is empty",
		fmt.Errorf("nobody answered within 50s: %w", context.DeadlineExceeded): "prompt: nobody answered within 50s",
	} {
		p := &PromptError{err}
		if p.Error() != want || !errors.Is(p, err) || !errors.Is(p, signer.ErrPINRequired) {
			t.Errorf("%v, want %s", p, want)
		}
	}
}

func TestPrompts(t *testing.T) {
	key := keystore.Ref{Scheme: "tpm", Rest: "path=key.pem"}
	for _, test := range []struct {
		name  string
		ask   func(App) keystore.PINFunc
		p     keystore.Prompt
		types []string
		pin   string
		err   error
		asked []string // substrings of the prompts
	}{
		{"needed", func(a App) keystore.PINFunc { return a.Prompt }, keystore.Prompt{What: keystore.AskTPMKey, Ref: key},
			[]string{"open"}, "open", nil, []string{"TPM key password for tpm:path=key.pem: "}},
		{"optional", func(a App) keystore.PINFunc { return a.Prompt }, keystore.Prompt{What: keystore.AskTPMKey, Ref: key, Optional: true},
			[]string{"open"}, "", nil, nil},
		{"last try", func(a App) keystore.PINFunc { return a.Prompt }, keystore.Prompt{What: keystore.AskPIN, Ref: key, LastTry: true},
			[]string{"open"}, "open", nil, []string{"LAST TRY"}},
		{"unknown number of tries", func(a App) keystore.PINFunc { return a.Prompt }, keystore.Prompt{What: keystore.AskPIN, Ref: key, FewTries: true, TriesUnknown: true},
			[]string{"open"}, "open", nil, []string{"A wrong PIN was entered before. Another one may lock the device."}},
		{"new", func(a App) keystore.PINFunc { return Twice(a.Prompt) }, keystore.Prompt{What: keystore.AskTPMKey, Ref: key, Optional: true},
			[]string{"open", "open"}, "open", nil, []string{"new TPM key password", "repeat TPM key password"}},
		{"new, mistyped", func(a App) keystore.PINFunc { return Twice(a.Prompt) }, keystore.Prompt{What: keystore.AskTPMKey, Ref: key, Optional: true},
			[]string{"open", "close"}, "", signer.ErrPINRequired, []string{"new", "repeat"}},
		{"new, second input fails", func(a App) keystore.PINFunc { return Twice(a.Prompt) }, keystore.Prompt{What: keystore.AskTPMKey, Ref: key, Optional: true},
			[]string{"open"}, "", signer.ErrPINRequired, []string{"new", "repeat"}},
		{"PIN of the token of a new key", func(a App) keystore.PINFunc { return Twice(a.Prompt) }, keystore.Prompt{What: keystore.AskPIN, Ref: key},
			[]string{"open"}, "open", nil, []string{"PIN for"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked []string
			terminal := &fakeTTY{test.types, &asked}
			a := App{OpenTTY: func() (TTY, error) { return terminal, nil }}
			pin, err := test.ask(a)(t.Context(), test.p)
			if string(pin) != test.pin || !errors.Is(err, test.err) {
				t.Errorf("got %q, %v, want %q, %v", pin, err, test.pin, test.err)
			}
			if len(asked) != len(test.asked) {
				t.Fatalf("asked %q, want %q", asked, test.asked)
			}
			for i, want := range test.asked {
				if !strings.Contains(asked[i], want) {
					t.Errorf("asked %q, want %q", asked[i], want)
				}
			}
		})
	}
}
