//go:build unix

package program_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/exectest"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/file"
	"github.com/holdfast-dev/holdfast/keystore/program"
	"github.com/holdfast-dev/holdfast/signer"
)

// others are programs that ask for a PIN, which is 1234, and one with an ML-DSA key. Each
// request with a PIN leaves its text in a file.
var others = []lieRow{
	{name: "asks for a PIN at open", run: func(l *liar) {
		for answered := false; !answered; {
			q := l.next()
			a := pinAnswer(q)
			if answered = a == nil; answered {
				l.answer(l.Answer(q))
				continue
			}
			l.answer(*a)
		}
		// The second signature ends the process.
		l.open()
		l.next()
		os.Exit(1)
	}},
	{name: "signs with ML-DSA", run: signML},
	{name: "asks for a PIN at each signature", run: func(l *liar) {
		l.open()
		for {
			q := l.next()
			if a := pinAnswer(q); a != nil {
				l.answer(*a)
			} else {
				l.answer(l.Answer(q))
			}
		}
	}},
}

// pinAnswer returns the refusal of a request without the right PIN, or nil.
func pinAnswer(q exectest.Request) *exectest.Answer {
	if q.PIN == "" {
		return &exectest.Answer{ID: q.ID, Error: &exectest.Error{Code: "pin-required"}}
	}
	f, err := os.OpenFile(filepath.Join(os.Getenv(dirVariable), "pins"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(q.PIN + " ")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		panic(err)
	}
	if q.PIN != "1234" {
		return &exectest.Answer{ID: q.ID, Error: &exectest.Error{Code: "pin-incorrect", Message: "wrong"}}
	}
	return nil
}

// asks is a PINFunc with the answers of a person.
type asks struct {
	mu      sync.Mutex
	answers []string
	asked   int
}

func (a *asks) PIN(_ context.Context, p keystore.Prompt) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.What != keystore.AskPIN || p.Optional || p.Ref.IsZero() || p.FewTries != (a.asked > 0) {
		return nil, errors.New("another prompt was expected")
	}
	answer := a.answers[min(a.asked, len(a.answers)-1)]
	a.asked++
	return []byte(answer), nil
}

func pinConfig(t *testing.T, name string, a *asks) (cfg program.Config, sent func() string) {
	t.Helper()
	dir := t.TempDir()
	cfg = program.Config{Path: exectest.InstallAs(t, liarPrefix+strings.ReplaceAll(name, " ", "_")), Key: keyFile(t, "p256"), Env: append(quickExit, dirVariable+"="+dir), PIN: a.PIN}
	return cfg, func() string {
		data, err := os.ReadFile(filepath.Join(dir, "pins"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		return string(data)
	}
}

// The PIN is asked for once, and sent again to a program that was started again.
func TestPINAtOpen(t *testing.T) {
	a := &asks{answers: []string{"1234"}}
	cfg, sent := pinConfig(t, "asks for a PIN at open", a)
	k := open(t, cfg)
	digest := sha256.Sum256(nil)
	for range 3 {
		if _, err := k.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
			t.Error(err)
		}
	}
	if got := sent(); a.asked != 1 || got != "1234 1234 1234 " {
		t.Errorf("asked %d times, sent %s", a.asked, got)
	}
}

func TestWrongPINAtOpen(t *testing.T) {
	a := &asks{answers: []string{"9999"}}
	cfg, sent := pinConfig(t, "asks for a PIN at open", a)
	_, err := program.Open(t.Context(), cfg)
	if !errors.Is(err, signer.ErrPINIncorrect) || !errors.Is(err, signer.ErrTryCounted) || strings.Contains(err.Error(), "9999") {
		t.Error(err)
	}
	cfg.PIN = nil
	if _, err := program.Open(t.Context(), cfg); !errors.Is(err, signer.ErrPINRequired) {
		t.Error(err)
	}
	cfg.PIN = func(context.Context, keystore.Prompt) ([]byte, error) { return []byte("\xff\xfe"), nil }
	if _, err := program.Open(t.Context(), cfg); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if got := sent(); got != "9999 " {
		t.Errorf("sent %s", got)
	}
}

// A refused PIN is not sent again, however often the source has it.
func TestWrongPINAtSign(t *testing.T) {
	a := &asks{answers: []string{"9999", "9999", "9999", "1234"}}
	cfg, sent := pinConfig(t, "asks for a PIN at each signature", a)
	k := open(t, cfg)
	digest := sha256.Sum256(nil)
	for i, want := range []struct {
		is      error
		counted bool
	}{{signer.ErrPINIncorrect, true}, {signer.ErrPINIncorrect, false}, {signer.ErrPINIncorrect, false}, {nil, false}, {nil, false}} {
		if _, err := k.Sign(rand.Reader, digest[:], crypto.SHA256); !errors.Is(err, want.is) || errors.Is(err, signer.ErrTryCounted) != want.counted {
			t.Errorf("signature %d: %v", i, err)
		}
	}
	if got := sent(); got != "9999 1234 1234 " || a.asked != 4 {
		t.Errorf("asked %d times, sent %s", a.asked, got)
	}
}

// Close ends the wait for a person.
func TestCloseWhileAsking(t *testing.T) {
	cfg, _ := pinConfig(t, "asks for a PIN at each signature", &asks{})
	asking := make(chan struct{})
	cfg.PIN = func(ctx context.Context, _ keystore.Prompt) ([]byte, error) {
		close(asking)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	k := open(t, cfg)
	done := make(chan error)
	go func() {
		digest := sha256.Sum256(nil)
		_, err := k.Sign(rand.Reader, digest[:], crypto.SHA256)
		done <- err
	}()
	<-asking
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, signer.ErrClosed) {
		t.Error(err)
	}
}

// The program inherits neither the variable of its PIN nor those of others that are not in
// Options.Environ.
func TestPINSource(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "signer")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nread -r line\necho \"$(env | sort | tr '\\n' ' ')\" >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ref, err := keystore.ParseRef("exec:program=" + path + ";key=k;pin-source=env:PIN")
	if err != nil {
		t.Fatal(err)
	}
	for want, environ := range map[string]func() []string{
		"A=1 LC_ALL=C PATH=": func() []string { return []string{"A=1", "PIN=1234", "LC_ALL=C", "PATH=" + os.Getenv("PATH")} },
		"PWD=":               nil,
	} {
		_, err = keystore.New(program.Backend{}, file.Backend{}).Open(t.Context(), ref, keystore.Options{Environ: environ})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "1234") || strings.Contains(err.Error(), "HOME=") {
			t.Errorf("lacks %q: %v", want, err)
		}
	}
}
