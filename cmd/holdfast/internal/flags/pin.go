package flags

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// pins is the group of flags of aws_signing_helper that contain a password, and
// --reuse-pin. Their help advises against passwords on the command line, which
// other users can read.
type pins struct {
	password *string // pointers, so that fmt prints no secret; nil: not given
	tpm      *string
	noTPM    bool
	reuse    bool
}

func (f *pins) add(fs *pflag.FlagSet) {
	fs.BoolVar(&f.reuse, "reuse-pin", false, "reuse a typed PIN for keys that ask for it at each signature")
	f.password = fs.String("pkcs8-password", "", "`password` of the key file. Avoid this flag: every local user can read a command line; use --pin-source instead")
	f.tpm = fs.String("tpm-key-password", "", "`password` of the TPM key. Avoid this flag: every local user can read a command line; use --pin-source instead")
	fs.BoolVar(&f.noTPM, "no-tpm-key-password", false, "do not ask for the password of the TPM key, even if its file says that it has one")
}

// pinFunc returns the PINFunc for --pin-source and the password flags of
// aws_signing_helper. If none is set, it prompts at the terminal.
func (k Key) pinFunc(a front.App, opts keystore.Options) (keystore.PINFunc, error) {
	ask := k.PINSource.Ask(a)
	if a.Typed != nil {
		ask = a.Typed.Before(ask)
	}
	if k.pins.reuse {
		ask = reuseTyped(ask)
	}
	for _, p := range k.pins.passwords() {
		switch {
		case !p.set:
		case k.PINSource != (PINSource{}):
			return nil, signer.WithHint(front.Usagef("--pin-source cannot be used with --%s", p.flag), "use only --pin-source")
		default:
			return p.orElse(ask), nil
		}
	}
	switch {
	case k.PINSource.Asks():
		return alwaysAsk(ask), nil
	case k.PINSource.Ref.IsZero():
		return ask, nil
	}
	read, err := a.Store.PINSource(k.PINSource.Ref, opts)
	return k.PINSource.Quiet(read), signer.WithHint(err, pinSourceForms)
}

// A PINSource is the source of a PIN or password. The zero value prompts if
// there is a terminal and the PIN is not optional.
type PINSource struct {
	Prompt   bool         // prompt even if the PIN is optional
	Pinentry bool         // ask through a pinentry program, even if the PIN is optional
	Ref      keystore.Ref // a file, an environment variable or a sealed secret

	word string // Ref as a word without a scheme, which can be the PIN itself; "": it was no such word
}

// Quiet returns read, the function of s.Ref, with errors that do not quote a word
// that is not the name of a file.
func (s PINSource) Quiet(read keystore.PINFunc) keystore.PINFunc {
	if s.word == "" || read == nil {
		return read
	}
	return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		pin, err := read(ctx, p)
		if err == nil || p.RefuseLastTry() != nil {
			return pin, err
		}
		if _, absent := os.Stat(s.word); absent == nil {
			return nil, err
		}
		hint := "store only the " + p.What + " in a file or a variable, and give its name, as file:PATH or env:NAME"
		if similar := front.Similar(strings.ToLower(s.word), "prompt", "pinentry"); similar != "" {
			hint = "did you mean --pin-source " + similar + "?"
		}
		return nil, signer.WithHint(fmt.Errorf("%w: pin-source is neither the name of a file nor env:NAME", signer.ErrPINRequired), hint)
	}
}

// Ask returns the function of a that asks a person.
func (s PINSource) Ask(a front.App) keystore.PINFunc {
	if s.Pinentry {
		return a.Pinentry
	}
	return a.Prompt
}

// Asks reports whether s names a way to ask a person.
func (s PINSource) Asks() bool { return s.Prompt || s.Pinentry }

const pinSourceForms = "--pin-source accepts file:PATH, env:NAME, prompt, pinentry or, for a sealed secret, tpm:path=PATH"

// ParsePINSource parses the value of --pin-source. An empty text returns the
// zero value.
func ParsePINSource(text string) (s PINSource, err error) {
	switch text {
	case "":
	case "prompt":
		s.Prompt = true
	case "pinentry":
		s.Pinentry = true
	default:
		s.Ref, err = keystore.ParsePINSource(text)
		if !strings.HasPrefix(text, ".") && !strings.HasPrefix(text, "~") && !filepath.IsAbs(text) && !strings.Contains(text, ":") {
			s.word = text
		}
	}
	return s, signer.WithHint(err, pinSourceForms)
}

// alwaysAsk returns a PINFunc that calls ask even for an optional PIN.
func alwaysAsk(ask keystore.PINFunc) keystore.PINFunc {
	return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		p.Optional = false
		return ask(ctx, p)
	}
}

// A passwordFlag is a password from the command line. It answers only one kind
// of prompt: with another it could use up a PIN try of a device.
type passwordFlag struct {
	flag  string
	set   bool
	what  string // the kind of prompt
	value string // "": no password
}

func (f pins) passwords() []passwordFlag {
	value := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	password, tpm := value(f.password), value(f.tpm)
	return []passwordFlag{
		{"pkcs8-password", password != "", keystore.AskPassword, password},
		{"tpm-key-password", tpm != "", keystore.AskTPMKey, tpm},
		{"no-tpm-key-password", f.noTPM, keystore.AskTPMKey, ""},
	}
}

// given returns the name of a password flag that is set, or "".
func (f pins) given() string {
	for _, p := range f.passwords() {
		if p.set {
			return p.flag
		}
	}
	return ""
}

// orElse returns a PINFunc that answers prompts of the kind g.what with the
// password and passes other prompts to ask.
func (g passwordFlag) orElse(ask keystore.PINFunc) keystore.PINFunc {
	return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		if p.What != g.what {
			return ask(ctx, p)
		}
		return []byte(g.value), p.RefuseLastTry()
	}
}

// reuseTyped returns a PINFunc that answers the prompts for each signature
// (CKA_ALWAYS_AUTHENTICATE) with the PIN that was typed last.
func reuseTyped(ask keystore.PINFunc) keystore.PINFunc {
	var mu sync.Mutex
	var last []byte
	return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if p.PerSignature && last != nil && p.RefuseLastTry() == nil {
			return bytes.Clone(last), nil
		}
		pin, err := ask(ctx, p)
		if err == nil {
			last = bytes.Clone(pin)
		}
		return pin, err
	}
}
