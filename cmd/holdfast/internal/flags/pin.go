package flags

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// pins are the flags of aws_signing_helper that hold a password, and --reuse-pin.
// Their help says not to use passwords on a command line: others can read it.
type pins struct {
	password *string // pointers, so that fmt shows no secret; nil: not given
	tpm      *string
	noTPM    bool
	reuse    bool
}

func (f *pins) add(fs *pflag.FlagSet) {
	fs.BoolVar(&f.reuse, "reuse-pin", false, "reuse a typed PIN for keys that ask for it at each signature")
	f.password = fs.String("pkcs8-password", "", "`password` of the key file. Avoid this flag: every local user can read a command line; use --pin-source instead")
	f.tpm = fs.String("tpm-key-password", "", "`password` of the TPM key. Avoid this flag: every local user can read a command line; use --pin-source instead")
	fs.BoolVar(&f.noTPM, "no-tpm-key-password", false, "do not ask for the password of the TPM key, even if its file says that it has one")
	for _, name := range []string{"pkcs8-password", "tpm-key-password"} {
		front.MarkSecret(fs.Lookup(name))
	}
}

// pinFunc returns the PINFunc of --pin-source and of the password flags of
// aws_signing_helper. Without any it asks if there is a terminal.
func (k Key) pinFunc(a front.App, opts keystore.Options) (keystore.PINFunc, error) {
	ask := a.Prompt
	if a.Typed != nil {
		ask = a.Typed.Before(ask)
	}
	if k.pins.reuse {
		ask = reuseTyped(ask)
	}
	for _, given := range k.pins.passwords() {
		switch {
		case !given.set:
		case k.PINSource != (PINSource{}):
			return nil, signer.WithHint(front.Usagef("--pin-source cannot be used with --%s", given.flag), "use only --pin-source")
		default:
			return given.before(ask), nil
		}
	}
	switch {
	case k.PINSource.Prompt:
		return alwaysAsk(ask), nil
	case k.PINSource.Ref.IsZero():
		return ask, nil
	}
	read, err := a.Store.PINSource(k.PINSource.Ref, opts)
	return read, signer.WithHint(err, pinSourceForms)
}

// A PINSource says where a PIN or password is. The zero value has a person
// asked, if there is a terminal and seems to be something to ask for.
type PINSource struct {
	Prompt bool         // always ask a person
	Ref    keystore.Ref // a file, a variable or a sealed secret
}

const pinSourceForms = "--pin-source accepts file:PATH, env:NAME, prompt or, for a sealed secret, tpm:path=PATH"

// ParsePINSource parses the value of --pin-source; "": it is not given.
func ParsePINSource(text string) (s PINSource, err error) {
	switch text {
	case "":
	case "prompt":
		s.Prompt = true
	default:
		s.Ref, err = keystore.ParsePINSource(text)
	}
	return s, signer.WithHint(err, pinSourceForms)
}

// alwaysAsk asks a person who wants to be asked, also where there seems to be
// nothing to ask for.
func alwaysAsk(ask keystore.PINFunc) keystore.PINFunc {
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

func (f pins) passwords() []givenPassword {
	value := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	password, tpm := value(f.password), value(f.tpm)
	return []givenPassword{
		{"pkcs8-password", password != "", keystore.AskPassword, password},
		{"tpm-key-password", tpm != "", keystore.AskTPMKey, tpm},
		{"no-tpm-key-password", f.noTPM, keystore.AskTPMKey, ""},
	}
}

// given reports whether a flag says what the password is.
func (f pins) given() bool {
	return slices.ContainsFunc(f.passwords(), func(g givenPassword) bool { return g.set })
}

func (g givenPassword) before(ask keystore.PINFunc) keystore.PINFunc {
	return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		if p.What != g.what {
			return ask(ctx, p)
		}
		return []byte(g.value), p.RefuseLastTry()
	}
}

// reuseTyped gives the PIN that was typed for a login again for the signatures
// of keys that ask each time.
func reuseTyped(ask keystore.PINFunc) keystore.PINFunc {
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
