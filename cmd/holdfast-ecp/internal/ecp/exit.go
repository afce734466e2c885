package ecp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"unicode"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// exits maps errors to the exit codes of docs/errors.md and to hints for errors
// that have none. The first entry that matches applies.
var exits = []struct {
	matches func(error) bool
	code    int
	hint    string
}{
	{is(signer.ErrPINRequired), 4, "give the PIN with pin-source in the reference, which names a file or a variable"},
	{is(signer.ErrPINIncorrect), 4, "check the PIN; one newline at the end of the file is ignored"},
	{is(signer.ErrPINLocked), 4, "unblock the PIN with the tools of the device vendor"},
	{is(signer.ErrUnavailable), 5, hintDevice},
	{is(context.DeadlineExceeded), 5, hintDevice},
	{is(fs.ErrNotExist), 3, "check the name; a relative path starts in the folder of the configuration file"},
	{is(fs.ErrPermission), 5, "run as a user who can read the file, or change its permissions"},
	{as[*usageError], 2, "see holdfast-ecp --help"},
	{as[*keystore.RefError], 2, "a reference is a path, env:NAME or SCHEME:…; see docs/references.md"},
	{is(signer.ErrNotFound), 3, "check the reference"},
	{is(signer.ErrAmbiguous), 3, "use a more specific reference"},
	{is(signer.ErrNoCertificate), 3, `name the file of the certificate in "certificate"`},
	{is(errors.ErrUnsupported), 5, "docs/references.md lists the supported references"},
	{func(error) bool { return true }, 1, "docs/errors.md lists the kinds of errors and their causes"},
}

const hintDevice = "check that the device is connected and that no other program is using it"

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// A usageError reports an invalid command line or configuration file.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usageErrorf(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// fail prints an error with a hint and returns its exit code.
func (p Process) fail(err error) int {
	code, hint := explain(err)
	// Nobody is told if standard error fails.
	_, _ = fmt.Fprintf(p.Stderr, "holdfast-ecp: %s\nhint: %s\n", clean(err.Error()), clean(hint))
	return code
}

// explain returns the exit code of an error and a hint.
func explain(err error) (code int, hint string) {
	for _, e := range exits {
		if !e.matches(err) {
			continue
		}
		if own := signer.Hint(err); own != "" {
			return e.code, inFile(own)
		}
		return e.code, e.hint
	}
	panic("unreachable: the last entry matches every error")
}

// inFile returns a hint of a library with the fields of the configuration file in
// the place of those of Go.
func inFile(hint string) string {
	return strings.NewReplacer(
		"and let Options.PIN ask", "with pin-source in the reference",
		"let Options.PIN ask", "give it with pin-source in the reference",
		"Options.PIN", "pin-source in the reference",
		"Config.PIN", "pin-source in the reference",
		"Config.Module", "module-path in the reference",
		"Identity.Certificate", `"certificate"`,
		"Identity.Intermediates", `"intermediates"`,
		"Identity.Key", `"private_key"`,
	).Replace(hint)
}

// clean returns a message as one line without secrets and control sequences.
func clean(message string) string {
	message = strings.ReplaceAll(strings.TrimSpace(message), "\n", "; ")
	return keystore.Redact(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, message))
}

// redactAttr removes secrets from the log, and the time, which the log of the client
// has. It is a function for [slog.HandlerOptions.ReplaceAttr].
func redactAttr(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	if k := a.Value.Kind(); k == slog.KindString || k == slog.KindAny {
		return slog.String(a.Key, inFile(clean(a.Value.Resolve().String())))
	}
	return a
}
