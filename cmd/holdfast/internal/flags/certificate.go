package flags

import (
	"cmp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Certificate is the group of flags that name certificates without a key.
type Certificate struct {
	Device
	certificate string
	osStore     osStore
}

// Add adds the flags to a command.
func (f *Certificate) Add(cmd *cobra.Command) {
	front.KeyFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&f.certificate, "certificate", "", "`reference` to the certificates: a file, -, env:NAME, pkcs11:…, winstore:… or another scheme; see docs/references.md")
		f.Device.Add(fs)
		fs.Lookup("pin-source").Usage = withoutPrompt
		f.osStore.addSelector(fs)
	})
}

// withoutPrompt describes --pin-source of a command that does not prompt by
// default.
const withoutPrompt = "`source` of the PIN or password, for references that do not name one: file:PATH, env:NAME, tpm:path=PATH or prompt (default: none, and no prompt)"

// Ref returns the reference that the flags describe, without opening it.
// Without flags, it is the personal certificate store of the user where the
// operating system has one.
func (f *Certificate) Ref(cmd *cobra.Command, a front.App) (keystore.Ref, error) {
	if err := refuseBoth(cmd, [][2]string{{"certificate", "cert-selector"}, {"certificate", "system-store-name"}}); err != nil {
		return keystore.Ref{}, err
	}
	text := f.certificate
	if text == "" {
		if !hasOSStore() && f.osStore == (osStore{}) {
			return keystore.Ref{}, signer.WithHint(front.Usagef("--certificate is not given"), "name a file or a token: --certificate cert.pem or --certificate pkcs11:token=NAME")
		}
		store := f.osStore
		if thisOS == "windows" && !strings.Contains(store.storeName, `\`) {
			store.storeName = `CurrentUser\` + cmp.Or(store.storeName, "MY") // not also the store of the machine
		}
		var err error
		if text, err = store.reference(thisOS); err != nil {
			return keystore.Ref{}, err
		}
	}
	ref, err := keystore.ParseRef(text)
	if err != nil {
		return ref, err
	}
	return f.Complete(a, ref)
}

// Options returns the options for backends. They do not prompt unless
// --pin-source says so.
func (f *Certificate) Options(a front.App, debug bool) (keystore.Options, error) {
	opts, err := f.Device.Options(a)
	opts.Logger = a.Logger(debug)
	if f.PINSource == "" {
		opts.PIN = nil
	}
	return opts, err
}
