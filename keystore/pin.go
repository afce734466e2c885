package keystore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

// maxPIN bounds what a pin-source gives, in bytes.
const maxPIN = 1 << 10

// A Prompt says what a PIN is needed for.
type Prompt struct {
	What string // "PIN" or "password"
	Ref  Ref    // the key
}

// A PINFunc gives the PIN or password of a key. The result belongs to the
// caller, who clears it after use. It returns [signer.ErrPINRequired] if there
// is none to be had. It is safe for concurrent use.
type PINFunc func(ctx context.Context, p Prompt) ([]byte, error)

// PINSource returns the PINFunc of a pin-source attribute or flag
// (RFC 7512, section 2.4): env:NAME, file:PATH or a path. It reads with each
// call, so that a changed PIN is seen, variables by opts.LookupEnv. One line
// end after the PIN is dropped. A file that every local user can read is
// reported to opts.Logger.
func PINSource(source string, opts Options) (PINFunc, error) {
	ref, err := ParseRef(source)
	if err != nil {
		return nil, fmt.Errorf("pin-source: %w", err)
	}
	switch ref.Scheme {
	case SchemeFile, SchemeEnv:
	default:
		return nil, fmt.Errorf("pin-source: %w", &RefError{ref.String(), errors.New("is neither file:PATH nor env:NAME")})
	}
	return func(_ context.Context, p Prompt) ([]byte, error) {
		pin, err := readPIN(ref, opts)
		if err != nil {
			return nil, fmt.Errorf("%s from pin-source %s: %w", p.What, sourceName(ref), err)
		}
		return pin, nil
	}, nil
}

func sourceName(ref Ref) string { return ref.Scheme + ":" + ref.Rest }

func readPIN(ref Ref, opts Options) ([]byte, error) {
	var pin []byte
	if ref.Scheme == SchemeFile {
		data, mode, err := readFile(ref.Rest, maxPIN)
		if err != nil {
			return nil, err
		}
		if openToOthers(mode) {
			opts.warnOpen(ref.Rest, "a PIN")
		}
		pin = data
	} else {
		v, err := opts.lookupEnv(ref.Rest)
		if err != nil {
			return nil, err
		}
		pin = []byte(v)
	}
	pin = bytes.TrimSuffix(bytes.TrimSuffix(pin, []byte("\n")), []byte("\r"))
	switch {
	case len(pin) == 0:
		return nil, fmt.Errorf("is empty: %w", signer.ErrPINRequired)
	case len(pin) > maxPIN:
		return nil, tooLarge(maxPIN)
	case bytes.ContainsAny(pin, "\x00\n"):
		return nil, errors.New("has more than one line")
	}
	return pin, nil
}
