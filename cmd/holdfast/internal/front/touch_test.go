package front

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha512"
	"crypto/tls"
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
	"github.com/holdfast-dev/holdfast/signer/signertest"
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
				if c.told && !slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, "pkcs11:token=t (answer the question") }) {
					t.Errorf("%s: told %q", c.name, told)
				}
			}
		})
	}
}

// A key that takes no digests gets the message, a person is told if that takes long,
// and a deadline ends it.
func TestWatcherPassesMessages(t *testing.T) {
	for _, kind := range []string{"rsa2048", "p256"} {
		synctest.Test(t, func(t *testing.T) {
			var told []string
			takes := time.Duration(0)
			fake := &signertest.MessageFake{Fake: signertest.Fake{Key: signertest.Key(t, kind), OnSign: func(int) error {
				time.Sleep(takes)
				return nil
			}}}
			w := &Watcher{Logger: slog.New(slog.DiscardHandler), App: App{OpenTTY: func() (TTY, error) { return &fakeTTY{nil, &told}, nil }}}
			for _, watched := range []signer.Signer{w.Watch(fake, "agent:key"), w.Watch(limitedMessages{fake}, "agent:key")} {
				for _, takes = range []time.Duration{0, 2 * touchDelay} {
					for by, sign := range map[string]func() ([]byte, error){
						"crypto": func() ([]byte, error) {
							return crypto.SignMessage(watched, rand.Reader, []byte("message"), crypto.SHA512)
						},
						"signer": func() ([]byte, error) {
							return signer.SignMessage(t.Context(), watched, rand.Reader, []byte("message"), crypto.SHA512)
						},
					} {
						told = nil
						digest := sha512.Sum512([]byte("message"))
						m, _ := signer.MechanismFor(watched.Public(), digest[:], crypto.SHA512)
						if sig, err := sign(); err != nil || !signer.Verifies(watched.Public(), m, digest[:], sig) {
							t.Errorf("%s, %s: %v", kind, by, err)
						}
						synctest.Wait()
						if (len(told) == 1) != (takes > touchDelay) {
							t.Errorf("%s, %s, after %v: told %q", kind, by, takes, told)
						}
					}
				}
				if _, err := watched.Sign(rand.Reader, make([]byte, 64), crypto.SHA512); !errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("%s: Sign: %v", kind, err)
				}
				if _, err := crypto.SignMessage(watched, rand.Reader, nil, nil); err == nil {
					t.Errorf("%s: nil options are accepted", kind)
				}
				takes = time.Hour
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				if _, err := signer.SignMessage(ctx, watched, rand.Reader, nil, crypto.SHA512); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %v", kind, err)
				}
				cancel()
				time.Sleep(takes)
				synctest.Wait()
			}
		})
	}
}

type limitedMessages struct{ *signertest.MessageFake }

func (limitedMessages) SignatureSchemes() []tls.SignatureScheme { return nil }
