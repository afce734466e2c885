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

// Ref returns the reference that the flags describe, without opening it, and
// whether --certificate names it. Without flags, it is the personal certificate
// store of the user where the operating system has one.
func (f *Certificate) Ref(cmd *cobra.Command, a front.App) (ref keystore.Ref, named bool, err error) {
	if err := refuseBoth(cmd, [][2]string{{"certificate", "cert-selector"}, {"certificate", "system-store-name"}}); err != nil {
		return ref, false, err
	}
	text := f.certificate
	if text == "" {
		if !hasOSStore() && f.osStore == (osStore{}) {
			return ref, false, signer.WithHint(front.Usagef("--certificate is not given"), "name a file or a token: --certificate cert.pem or --certificate pkcs11:token=NAME")
		}
		store := f.osStore
		if thisOS == "windows" && !strings.Contains(store.storeName, `\`) {
			store.storeName = `CurrentUser\` + cmp.Or(store.storeName, "MY") // not also the store of the machine
		}
		if text, err = store.reference(thisOS); err != nil {
			return ref, false, err
		}
	}
	if ref, err = keystore.ParseRef(text); err == nil {
		ref, err = f.Complete(a, ref)
	}
	return ref, f.certificate != "", err
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
