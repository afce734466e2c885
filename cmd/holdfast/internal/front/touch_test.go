package front

import (
	"context"
	"crypto"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A slowSigner takes a while, and asks for a PIN first if pin is set.
type slowSigner struct {
	signer.Signer
	takes time.Duration
	pin   keystore.PINFunc
}

func (s slowSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	if s.pin != nil {
		_, _ = s.pin(context.Background(), keystore.Prompt{})
	}
	time.Sleep(s.takes)
	return []byte("signature"), nil
}

// A person is told of a signature that takes long, but not during a prompt.
func TestWatcher(t *testing.T) {
	for _, c := range []struct {
		name                   string
		takes, prompt          time.Duration
		terminal, told, logged bool
	}{
		{name: "fast", takes: touchDelay / 2, terminal: true},
		{name: "slow", takes: 2 * touchDelay, terminal: true, told: true},
		{name: "slow prompt", prompt: 10*touchDelay - time.Millisecond, takes: touchDelay / 2, terminal: true},
		{name: "slow prompt and touch", prompt: 10 * touchDelay, takes: 3 * touchDelay, terminal: true, told: true},
		{name: "no terminal", takes: 2 * touchDelay, logged: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			var told []string
			var log strings.Builder
			w := &Watcher{Logger: slog.New(&LogHandler{W: &log}), App: App{OpenTTY: func() (TTY, error) {
				if !c.terminal {
					return nil, errors.New("none")
				}
				return &fakeTTY{nil, &told}, nil
			}}}
			s := slowSigner{takes: c.takes}
			if c.prompt > 0 {
				s.pin = w.PIN(func(context.Context, keystore.Prompt) ([]byte, error) {
					time.Sleep(c.prompt)
					return nil, nil
				})
			}
			watched := w.Watch(s, "pkcs11:token=t")
			for _, sign := range []func() ([]byte, error){
				func() ([]byte, error) { return watched.Sign(nil, nil, nil) },
				func() ([]byte, error) { return signer.SignContext(t.Context(), watched, nil, nil, nil) },
			} {
				told = nil
				log.Reset()
				if sig, err := sign(); string(sig) != "signature" || err != nil {
					t.Errorf("%s: %q, %v", c.name, sig, err)
				}
				synctest.Wait()
				if (len(told) == 1) != c.told || strings.Contains(log.String(), "pkcs11:token=t") != c.logged {
					t.Errorf("%s: told %q, logged %q", c.name, told, log.String())
				}
				if c.told && !slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, "pkcs11:token=t; if the device blinks") }) {
					t.Errorf("%s: told %q", c.name, told)
				}
			}
		})
	}
}
