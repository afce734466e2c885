package issuing

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
)

// A PIN is asked for again until the device has accepted it. The accepted answer is
// given once more, also if a wrong one would lock the device.
func TestKnownPIN(t *testing.T) {
	asked := 0
	known := knownPIN{answers: make(map[pinQuestion][]byte), ask: func(context.Context, keystore.Prompt) ([]byte, error) {
		asked++
		if asked == 100 {
			return nil, errors.New("nobody answers")
		}
		return fmt.Appendf(nil, "answer %d", asked), nil
	}}
	pin := known.pin()
	key := keystore.Prompt{What: keystore.AskTPMKey}
	last := keystore.Prompt{What: keystore.AskTPMKey, LastTry: true}
	other := keystore.Prompt{What: keystore.AskTPMParent}
	ask := func(p keystore.Prompt, want string) {
		t.Helper()
		got, err := pin(t.Context(), p)
		if err != nil || string(got) != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	ask(key, "answer 1")
	ask(key, "answer 2") // the first one was refused
	ask(last, "answer 3")
	known.keep()
	ask(last, "answer 3")
	ask(key, "answer 4")
	ask(last, "answer 5")
	ask(other, "answer 6")
	asked = 99
	if got, err := pin(t.Context(), key); err == nil {
		t.Errorf("%q without an answer", got)
	}
	known.forget()
	if (&knownPIN{}).pin() != nil {
		t.Error("a PINFunc without anybody to ask")
	}
}
