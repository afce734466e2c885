package front

import (
	"context"
	"crypto"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/pinentry"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// touchDelay is how long a signature may take before a person is told.
const touchDelay = 2 * time.Second

// A Watcher tells a person that a device waits, for example for a touch. Nothing
// else does so if an AWS client hides standard error. It uses the terminal, or
// pinentry if that was chosen for PINs, or else the log.
type Watcher struct {
	App      App
	Pinentry bool
	Logger   *slog.Logger
	Delay    time.Duration // 0: two seconds

	asking atomic.Int32 // prompts that are shown
	asked  atomic.Int64 // when the last prompt ended, in Unix nanoseconds
}

// PIN returns a PINFunc that calls ask. Its prompts do not count as waiting.
func (w *Watcher) PIN(ask keystore.PINFunc) keystore.PINFunc {
	if ask == nil {
		return nil
	}
	return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		w.asking.Add(1)
		defer func() {
			w.asked.Store(time.Now().UnixNano())
			w.asking.Add(-1)
		}()
		return ask(ctx, p)
	}
}

// Watch returns a Signer that tells a person when a signature with s takes long.
// It owns s, and name is the name of the key.
func (w *Watcher) Watch(s signer.Signer, name string) signer.Signer {
	watched := &watchedSigner{s, w, name}
	if limiter, ok := s.(signer.SchemeLimiter); ok {
		return limitedWatchedSigner{watched, limiter}
	}
	return watched
}

type watchedSigner struct {
	signer.Signer
	watcher *Watcher
	name    string
}

type limitedWatchedSigner struct {
	*watchedSigner
	signer.SchemeLimiter
}

func (s *watchedSigner) Certificates() signer.Certificates { return signer.CertificatesOf(s.Signer) }
func (s *watchedSigner) NeedsPerson() bool                 { return signer.NeedsPerson(s.Signer) }
func (s *watchedSigner) SignsMessagesOnly() bool           { return signer.SignsMessagesOnly(s.Signer) }
func (s *watchedSigner) PSSSaltLengths(hash crypto.Hash) []int {
	return signer.PSSSaltLengths(s.Signer, hash)
}

func (s *watchedSigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	defer s.watcher.Begin(context.Background(), s.name)()
	return s.Signer.Sign(rand, digest, opts)
}

func (s *watchedSigner) SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	defer s.watcher.Begin(ctx, s.name)()
	return signer.SignContext(ctx, s.Signer, rand, digest, opts)
}

func (s *watchedSigner) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	defer s.watcher.Begin(context.Background(), s.name)()
	return signer.SignMessage(context.Background(), s.Signer, rand, message, opts)
}

func (s *watchedSigner) SignMessageContext(ctx context.Context, rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	defer s.watcher.Begin(ctx, s.name)()
	return signer.SignMessage(ctx, s.Signer, rand, message, opts)
}

// Begin starts to wait for a device called name. The wait ends when done is called.
func (w *Watcher) Begin(ctx context.Context, name string) (done func()) {
	delay := w.Delay
	if delay == 0 {
		delay = touchDelay
	}
	ctx, cancel := context.WithCancel(ctx)
	var mu sync.Mutex // guards timer
	var timer *time.Timer
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(delay, func() { // without a goroutine, because most calls are faster
		mu.Lock()
		again := w.asking.Load() != 0 || time.Since(time.Unix(0, w.asked.Load())) < delay
		if again && ctx.Err() == nil {
			timer.Reset(delay)
		}
		mu.Unlock()
		if !again && ctx.Err() == nil {
			w.tell(ctx, fmt.Sprintf("waiting for %s (answer the question if one is shown, touch the device if it blinks, or enter the PIN on its keypad)", OneLine(name)))
		}
	})
	return func() {
		cancel()
		mu.Lock()
		defer mu.Unlock()
		timer.Stop()
	}
}

// tell shows a text until ctx ends, if it is a window.
func (w *Watcher) tell(ctx context.Context, text string) {
	if t, err := w.App.OpenTTY(); err == nil {
		defer t.Close()
		if t.Print("holdfast: "+text) == nil {
			return
		}
	}
	if w.Pinentry {
		program := pinentry.Program{Path: w.App.Env(pinentryVariable), Environ: w.App.Environ()}
		if err := program.Tell(ctx, pinentry.Dialog{Title: "Holdfast", Description: firstUpper(text) + "."}); err == nil || ctx.Err() != nil {
			return
		}
	}
	w.Logger.Warn(text)
}
