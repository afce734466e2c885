package front

import (
	"context"
	"errors"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/pinentry"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// pinentryVariable names the pinentry program.
const pinentryVariable = "HOLDFAST_PINENTRY"

// Pinentry asks for a PIN through a pinentry program, which has a window on a
// desktop. It is a [keystore.PINFunc]. It does not ask for an optional PIN.
func (a App) Pinentry(ctx context.Context, p keystore.Prompt) ([]byte, error) {
	if p.Optional {
		return nil, nil
	}
	pin, err := a.answer(ctx, func(ctx context.Context) ([]byte, error) {
		program, done, err := a.pinentry(ctx)
		if err != nil {
			return nil, err
		}
		defer done()
		return program.Ask(ctx, pinentry.Dialog{
			Title: "Holdfast", Description: "Holdfast needs the " + wanted(p) + ".", Prompt: firstUpper(p.What) + ":",
			Warning: warningOf(p), Timeout: promptTimeout,
		})
	})
	for _, h := range []struct {
		err  error
		hint string
	}{
		{pinentry.ErrNotFound, "install a pinentry program, such as the package pinentry-gnome3 of Debian, or name one in the variable " + pinentryVariable},
		{pinentry.ErrCanceled, "run the command again, and enter the " + p.What},
		{pinentry.ErrTimedOut, "run the command again, and answer the dialog; or give the " + p.What + " with --pin-source file:PATH or env:NAME"},
		{pinentry.ErrNoTerminal, "on a machine without a desktop or terminal, give the " + p.What + " with --pin-source file:PATH or env:NAME"},
		{pinentry.ErrRefused, "the program needs a desktop or a terminal; without these, give the " + p.What + " with --pin-source file:PATH or env:NAME"},
		{pinentry.ErrProtocol, "the program needs a desktop or a terminal; name another pinentry program in the variable " + pinentryVariable},
	} {
		if errors.Is(err, h.err) {
			err = signer.WithHint(err, h.hint)
		}
	}
	return pin, err
}

// pinentry returns the pinentry program. A program without a window uses the
// terminal, so no other process asks there until done is called, which also undoes
// the changes of a program that was killed.
func (a App) pinentry(ctx context.Context) (program pinentry.Program, done func(), err error) {
	program = pinentry.Program{Path: a.Env(pinentryVariable), Environ: a.Environ(), TTY: a.Env("GPG_TTY"), Type: a.Env("TERM")}
	restore, name := saveTerminal()
	if name == "" {
		return program, func() {}, nil
	}
	if program.TTY == "" {
		program.TTY = name
	}
	unlock, err := lockTerminal(ctx)
	return program, func() { restore(); unlock() }, err
}

func firstUpper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
