package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// promptPatience is how long a prompt waits: the AWS SDK for Go ends a
// credential process after 60 s, and the answer still has to travel.
const promptPatience = 50 * time.Second

// A tty is the terminal of the person, not standard input or error, which an
// AWS client holds.
type tty interface {
	// ReadPassword prints a prompt and reads a line without echo. It
	// restores the terminal before it returns, also if ctx ends first.
	ReadPassword(ctx context.Context, prompt string) ([]byte, error)
	Close() error
}

// pinSource returns the PINFunc of --pin-source and of the password flags of
// aws_signing_helper. Without any it asks if there is a terminal.
func (a app) pinSource(f *identityFlags, opts keystore.Options) (keystore.PINFunc, error) {
	ask := a.prompt
	if a.typed != nil {
		ask = a.typed.before(ask)
	}
	if f.reusePIN {
		ask = remember(ask)
	}
	source := f.pinSource
	for _, given := range f.passwords() {
		switch {
		case !given.set:
		case source != "":
			return nil, signer.WithHint(usagef("--pin-source excludes --%s", given.flag), "give --pin-source alone")
		default:
			return given.before(ask), nil
		}
	}
	switch source {
	case "":
	case "prompt":
		return insist(ask), nil
	default:
		ref, err := keystore.ParsePINSource(source)
		var read keystore.PINFunc
		if err == nil {
			read, err = a.store().PINSource(ref, opts)
		}
		return read, signer.WithHint(err, "--pin-source is file:PATH, env:NAME, prompt or a sealed secret: tpm:path=PATH")
	}
	return ask, nil
}

// insist asks a person who wants to be asked, also where there seems to be
// nothing to ask for.
func insist(ask keystore.PINFunc) keystore.PINFunc {
	return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		p.Optional = false
		return ask(ctx, p)
	}
}

// A givenPassword is one from the command line. It is for one kind of prompt:
// elsewhere it would use up a try of some device.
type givenPassword struct {
	flag  string
	set   bool
	what  string
	value string // "": there is none
}

func (f *identityFlags) passwords() []givenPassword {
	return []givenPassword{
		{"pkcs8-password", f.password != "", keystore.AskPassword, f.password},
		{"tpm-key-password", f.tpmPassword != "", keystore.AskTPMKey, f.tpmPassword},
		{"no-tpm-key-password", f.noTPMPassword, keystore.AskTPMKey, ""},
	}
}

func (g givenPassword) before(ask keystore.PINFunc) keystore.PINFunc {
	return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		if p.What != g.what {
			return ask(ctx, p)
		}
		return []byte(g.value), p.RefuseLastTry()
	}
}

// remember gives the PIN that was typed for a login again for the signatures
// of keys that ask each time.
func remember(ask keystore.PINFunc) keystore.PINFunc {
	var mu sync.Mutex
	var last []byte
	return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if p.PerSignature && last != nil && !p.LastTry {
			return bytes.Clone(last), nil
		}
		pin, err := ask(ctx, p)
		if err == nil {
			last = bytes.Clone(pin)
		}
		return pin, err
	}
}

func (a app) prompt(ctx context.Context, p keystore.Prompt) ([]byte, error) {
	if p.Optional {
		return nil, nil
	}
	t, err := a.openTTY()
	if err != nil {
		return nil, &promptError{errors.New("no terminal to ask on")}
	}
	defer t.Close()
	ctx, cancel := context.WithTimeout(ctx, promptPatience)
	defer cancel()
	text := fmt.Sprintf("%s for %s: ", p.What, oneLine(p.Ref.String()))
	switch {
	case p.LastTry:
		text = "LAST TRY: a wrong " + p.What + " locks it now.\r\n" + text
	case p.FewTries:
		text = "A wrong " + p.What + " was given before.\r\n" + text
	}
	pin, err := t.ReadPassword(ctx, text)
	if err != nil {
		return nil, &promptError{err}
	}
	if len(bytes.TrimSpace(pin)) == 0 {
		return nil, &promptError{errors.New("nothing was typed")}
	}
	return pin, nil
}

// A promptError is a prompt that gives no PIN.
type promptError struct{ err error }

func (e *promptError) Error() string   { return "prompt: " + e.err.Error() }
func (e *promptError) Unwrap() []error { return []error{e.err, signer.ErrPINRequired} }

// typedPINs are for commands that outlive the person at the terminal. They ask
// until stop is called; later they give what was typed again, for a key that
// has to be reopened, and never a PIN that a device may have refused. They are
// safe for concurrent use.
type typedPINs struct {
	mu      sync.Mutex
	stopped bool
	pins    map[typedKey][]byte
}

type typedKey struct {
	what string
	ref  keystore.Ref
}

func (t *typedPINs) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
}

func (t *typedPINs) before(ask keystore.PINFunc) keystore.PINFunc {
	return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		t.mu.Lock()
		defer t.mu.Unlock() // also: one prompt at a time
		key := typedKey{p.What, p.Ref}
		if t.stopped {
			if pin, ok := t.pins[key]; ok && !p.PerSignature && !p.FewTries && !p.LastTry {
				return bytes.Clone(pin), nil
			}
			if p.Optional {
				return nil, nil
			}
			return nil, signer.WithHint(&promptError{errors.New("nobody is asked once the program is running")},
				"give it by --pin-source file:PATH or env:NAME, or with --reuse-pin, or start again")
		}
		pin, err := ask(ctx, p)
		if err == nil && !p.Optional {
			if t.pins == nil {
				t.pins = make(map[typedKey][]byte)
			}
			t.pins[key] = bytes.Clone(pin)
		}
		return pin, err
	}
}
