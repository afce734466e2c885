package keystore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// maxPIN is the maximum length of a PIN from a pin-source, in bytes.
const maxPIN = 1 << 10

// The values of [Prompt.What].
const (
	AskPIN       = "PIN"
	AskPassword  = "password" // of a file
	AskTPMKey    = "TPM key password"
	AskTPMParent = "TPM parent password"

	// AskTPMEndorsement is the password of the endorsement hierarchy of a TPM.
	AskTPMEndorsement = "TPM endorsement password"
)

// A Prompt describes the PIN that is needed.
type Prompt struct {
	What string // one of the constants above
	Ref  Ref    // the key

	Optional     bool // the key may have no PIN: do not ask a person
	PerSignature bool // the key needs the PIN before every signature
	FewTries     bool // an incorrect PIN was entered before
	LastTry      bool // an incorrect PIN now locks the token

	// TriesUnknown means that an incorrect PIN now may lock the token: one
	// was entered before, and the token does not say how many tries are left.
	TriesUnknown bool

	// NextTry is the time within which the token allows another try, if it
	// is known and LastTry is set.
	NextTry time.Duration

	// Device is the device of the key as a reference without a source of its
	// PIN, or zero.
	Device Ref

	// Exact, if not nil, is set by the PINFunc of a pin-source to a copy of
	// all bytes of the source, if the result lacks its line end. The caller
	// owns and clears it. Without a count of tries it is a second guess: some
	// programs take the line end of a password file for a part of the
	// password.
	Exact *[]byte
}

// RefuseLastTry returns an error if an incorrect PIN would or may lock the token.
// A PINFunc that does not ask a person must return this error.
func (p Prompt) RefuseLastTry() error {
	hint := "type the " + p.What + ": let Options.PIN ask"
	switch {
	case p.LastTry && p.NextTry > 0:
		return signer.WithHint(fmt.Errorf("%s: not used, because only one try is left before the device locks (it allows another try within %v): %w",
			p.What, p.NextTry, signer.ErrPINRequired), hint)
	case p.LastTry:
		return signer.WithHint(fmt.Errorf("%s: not used, because only one try is left before the device locks: %w", p.What, signer.ErrPINRequired), hint)
	case p.TriesUnknown:
		if !p.Device.IsZero() {
			hint = "correct the " + p.What + ", then type it once on a terminal: List with the reference '" + p.Device.String() + "' and let Options.PIN ask"
		}
		return signer.WithHint(fmt.Errorf("a wrong %s was entered before, and the device does not say how many tries are left, so only a typed %[1]s is used: %w",
			p.What, signer.ErrPINRequired), hint)
	}
	return nil
}

// A PINFunc returns the PIN or password of a key. The caller owns the result
// and clears it after use. If there is no PIN, it returns
// [signer.ErrPINRequired], or nil and no error for an optional prompt. It is
// safe for concurrent use.
type PINFunc func(ctx context.Context, p Prompt) ([]byte, error)

// Required returns f without the choice to give no PIN, for a key that must have one.
// The result is nil if f is.
func (f PINFunc) Required() PINFunc {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, p Prompt) ([]byte, error) {
		p.Optional = false
		pin, err := f(ctx, p)
		if err == nil && len(pin) == 0 {
			err = fmt.Errorf("the password is empty: %w", signer.ErrPINRequired)
		}
		return pin, err
	}
}

// PINSource returns a PINFunc that reads the PIN from source, such as file:PATH or
// env:NAME, each time it is needed; see [Call.PINSource]. source can also be a reference
// to one of the [Unsealer] backends of s. The result is for [Options.PIN]; opts are the
// other Options of the call that uses it.
func (s *Store) PINSource(source Ref, opts Options) (PINFunc, error) {
	return s.begin(opts).PINSource(source)
}

// ParsePINSource is [ParseRef] for a pin-source. Its errors begin with
// "pin-source". They quote the text only if it begins with file: or env:, because
// it can be the PIN itself. A number is refused for that reason.
func ParsePINSource(text string) (Ref, error) {
	if text != "" && strings.Trim(text, "0123456789") == "" {
		return Ref{}, signer.WithHint(fmt.Errorf("pin-source: %w", &RefError{"…", errors.New("is a number, not the name of a file")}),
			"store the PIN in a file or a variable, and give its name; for a file whose name is a number, write file:NUMBER")
	}
	ref, err := ParseRef(text)
	var refErr *RefError
	if scheme, _, _ := cutScheme(text); errors.As(err, &refErr) && text != "" && scheme != SchemeFile && scheme != SchemeEnv {
		err = &RefError{"…", refErr.Err}
	}
	if err != nil {
		return Ref{}, fmt.Errorf("pin-source: %w", err)
	}
	return ref, nil
}

// PINSource returns the PINFunc of a pin-source attribute or flag
// (RFC 7512, section 2.4). A pin-source is env:NAME, file:PATH or a path. In a
// call of a [Store], it can also be a reference to one of its [Unsealer]
// backends, such as tpm:path=sealed.pem.
//
// The PINFunc can be used after the call has ended. It reads the source each
// time, so that a changed PIN takes effect, and reads variables with
// c.LookupEnv. It removes a byte order mark before the PIN and one line ending
// after it. It logs a warning if every local user can read or change the file.
// All its errors wrap [signer.ErrPINRequired].
func (c Call) PINSource(source Ref) (PINFunc, error) {
	switch {
	case source.IsZero():
		return nil, fmt.Errorf("pin-source: %w", &RefError{"", errEmpty})
	case !c.store.isPINSource(source): // shown is only a scheme that cannot be the start of the PIN
		shown := "…"
		if slices.Contains(foreignSources, source.Scheme) || slices.Contains(secretSchemes, source.Scheme) {
			shown = source.Scheme + ":…"
		}
		return nil, signer.WithHint(fmt.Errorf("pin-source: %w", &RefError{shown, errors.New("is neither file:PATH nor env:NAME")}),
			"store only the PIN in a file or a variable, and give its name")
	}
	return c.permitted(func(ctx context.Context, p Prompt) ([]byte, error) {
		if err := p.RefuseLastTry(); err != nil {
			return nil, err
		}
		pin, exact, err := c.readPIN(ctx, source)
		if err != nil {
			return nil, &sourceError{p.What, source, err}
		}
		if p.Exact != nil && len(exact) != len(pin) {
			*p.Exact = bytes.Clone(exact)
		}
		return pin, nil
	}), nil
}

// PINValue returns the PINFunc of a pin-value attribute.
func (c Call) PINValue(pin string) PINFunc {
	return c.permitted(func(_ context.Context, p Prompt) ([]byte, error) { return []byte(pin), p.RefuseLastTry() })
}

// permitted returns a PINFunc that calls o.Permit before ask.
func (o Options) permitted(ask PINFunc) PINFunc {
	if ask == nil || o.Permit == nil {
		return ask
	}
	return func(ctx context.Context, p Prompt) ([]byte, error) {
		if err := o.Permit(p); err != nil {
			return nil, err
		}
		return ask(ctx, p)
	}
}

// foreignSources are the schemes of the sources of secrets that other programs have,
// besides [secretSchemes], and words that are sources only without a colon.
var foreignSources = []string{"cmd", "exec", "fd", "stdin", "vault", "prompt", "pinentry"}

// isPINSource reports whether a PIN can be read from a reference of this
// scheme: from a file, a variable or, unless s is nil, an [Unsealer] of s.
func (s *Store) isPINSource(ref Ref) bool {
	if ref.Scheme == SchemeFile || ref.Scheme == SchemeEnv {
		return true
	}
	if s == nil {
		return false
	}
	_, sealed := s.find(ref.Scheme).(Unsealer)
	return sealed
}

// A sourceError reports that no PIN could be read from a pin-source.
type sourceError struct {
	what string
	ref  Ref
	err  error
}

func (e *sourceError) Error() string {
	return fmt.Sprintf("%s from pin-source %s: %v", e.what, e.ref, e.err)
}

func (e *sourceError) Unwrap() []error { return []error{e.err, signer.ErrPINRequired} }

func (e *sourceError) Hint() string {
	if h := signer.Hint(e.err); h != "" {
		return h
	}
	hint := "the source must be a regular file or a variable that contains only the " + e.what + ", on one line"
	if errors.Is(e.err, fs.ErrNotExist) {
		hint = "check the name; " + hint
	}
	return hint
}

// unsealer returns a function that unseals the secret of ref, and whether ref
// names a sealed secret. The password of a sealed secret cannot itself be
// sealed or prompted for, so the Call for Unseal has no Store and no PINFunc.
func (c Call) unsealer(ref Ref) (func(context.Context) ([]byte, error), bool) {
	if c.store == nil {
		return nil, false
	}
	u, ok := c.store.find(ref.Scheme).(Unsealer)
	inner := Call{Options: Options{Logger: c.Logger, Stdin: c.Stdin, LookupEnv: c.LookupEnv, Permit: c.Permit}}
	return func(ctx context.Context) ([]byte, error) { return u.Unseal(ctx, ref, inner) }, ok
}

// readPIN returns the PIN, and all bytes of the source, which share its memory.
func (c Call) readPIN(ctx context.Context, ref Ref) (pin, exact []byte, err error) {
	if unseal, ok := c.unsealer(ref); ok {
		secret, err := unseal(ctx)
		if err != nil {
			return nil, nil, err
		}
		pin = secret
	} else if ref.Scheme == SchemeFile {
		data, mode, err := readFile(ctx, ref.Rest, maxPIN)
		if err != nil {
			return nil, nil, err
		}
		if worldAccessible(mode) {
			c.warnWorldAccessible(ref.Rest, "a PIN")
		}
		pin = data
	} else {
		v, err := c.lookupEnv(ref.Rest)
		if err != nil {
			return nil, nil, err
		}
		pin = []byte(v)
	}
	exact = pin
	pin = bytes.TrimPrefix(pin, []byte("\ufeff"))
	if line, ok := bytes.CutSuffix(pin, []byte("\n")); ok {
		pin = bytes.TrimSuffix(line, []byte("\r"))
	}
	switch {
	case len(pin) == 0:
		return nil, nil, errors.New("is empty")
	case len(pin) > maxPIN:
		return nil, nil, tooLarge(maxPIN)
	case bytes.ContainsAny(pin, "\x00\n"):
		return nil, nil, errors.New("is not a single line of text")
	}
	return pin, exact, nil
}
