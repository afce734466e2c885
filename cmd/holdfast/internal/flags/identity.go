// Package flags defines the groups of flags that commands of several packages
// share. It converts them to values: the key and its PIN source, the session,
// the connection. Within Holdfast it imports front and the libraries.
package flags

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Identity is the group of flags that name a key and its certificate. All
// commands that sign have it.
type Identity struct {
	certificate, privateKey string
	intermediates           onlyOnce

	device  Device
	pins    pins
	osStore osStore
}

// Add adds the flags to a command.
func (f *Identity) Add(cmd *cobra.Command) {
	front.KeyFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&f.certificate, "certificate", "", "`reference` to the certificate, with or without its chain: a file, -, env:NAME, pkcs11:…, winstore:… or another scheme; see docs/references.md")
		fs.StringVar(&f.privateKey, "private-key", "", "`reference` to the private key (default: the value of --certificate)")
		fs.Var(&f.intermediates, "intermediates", "`reference` to intermediate certificates, in any order")
		f.device.Add(fs)
		f.pins.add(fs)
		f.osStore.add(fs)
	})
}

// exclusive lists the pairs of flags that cannot be used together, as in
// aws_signing_helper.
var exclusive = [][2]string{
	{"certificate", "cert-selector"},
	{"certificate", "system-store-name"},
	{"private-key", "cert-selector"},
	{"private-key", "system-store-name"},
	{"private-key", "use-latest-expiring-certificate"},
	{"use-latest-expiring-certificate", "intermediates"},
	{"use-latest-expiring-certificate", "reuse-pin"},
	{"cert-selector", "intermediates"},
	{"cert-selector", "reuse-pin"},
	{"system-store-name", "reuse-pin"},
	{"tpm-key-password", "cert-selector"},
	{"tpm-key-password", "reuse-pin"},
	{"no-tpm-key-password", "cert-selector"},
	{"no-tpm-key-password", "tpm-key-password"},
	{"pkcs8-password", "tpm-key-password"},
}

// Key returns the Key that the flags describe, without opening it. It may be
// empty: see [Key.Check].
func (f *Identity) Key(cmd *cobra.Command) (Key, error) {
	given := func(name string) bool { return cmd.Flags().Changed(name) }
	if err := refuseBoth(cmd, exclusive); err != nil {
		return Key{}, err
	}
	k := Key{pins: f.pins, modules: f.device.Modules, newest: f.osStore.newest}
	certificate := f.certificate
	unnamed := f.privateKey == "" && f.certificate == ""
	selected := given("cert-selector") || given("system-store-name")
	k.implied = !selected && f.osStore.newest && unnamed && hasOSStore()
	if selected || k.implied {
		var err error
		if certificate, err = f.osStore.reference(thisOS); err != nil {
			return Key{}, err
		}
	}
	if f.intermediates.again {
		return k, signer.WithHint(front.Usagef("--intermediates is given twice"), "give all intermediate certificates in one file, in any order")
	}
	var err error
	if k.Identity, err = parseIdentity(certificate, f.privateKey, f.intermediates.text); err != nil {
		return k, err
	}
	k.PINSource, err = ParsePINSource(f.device.PINSource)
	return k, err
}

// refuseBoth returns an error if both flags of a pair are given.
func refuseBoth(cmd *cobra.Command, pairs [][2]string) error {
	for _, pair := range pairs {
		if cmd.Flags().Changed(pair[0]) && cmd.Flags().Changed(pair[1]) {
			return signer.WithHint(front.Usagef("--%s cannot be used with --%s", pair[0], pair[1]), "use only one of them")
		}
	}
	return nil
}

// parseIdentity parses references. An empty text is the zero Ref.
func parseIdentity(certificate, key, intermediates string) (keystore.Identity, error) {
	id, err := keystore.ParseIdentity(certificate, key)
	if err == nil && intermediates != "" {
		id.Intermediates, err = keystore.ParseRef(intermediates)
	}
	return id, err
}

// onlyOnce is a [pflag.Value] that records whether it was set to two texts.
type onlyOnce struct {
	text  string
	again bool
}

func (o *onlyOnce) String() string { return o.text }
func (o *onlyOnce) Type() string   { return "string" }

func (o *onlyOnce) Set(text string) error {
	o.again = o.again || o.text != "" && text != "" && text != o.text
	o.text = text
	return nil
}

// Device is the group of flags that all commands that open a device have.
type Device struct {
	PINSource string
	Modules
}

// Modules are settings for PKCS #11 references that do not have them.
type Modules struct {
	Module    string // the path of the module
	Isolation string // in which process it runs
}

// Add adds the flags to fs.
func (f *Device) Add(fs *pflag.FlagSet) {
	fs.StringVar(&f.PINSource, "pin-source", "", "`source` of the PIN or password, for references that do not name one: file:PATH, env:NAME, tpm:path=PATH, prompt or pinentry (default: prompt, if there is a terminal)")
	front.MarkValues(fs.Lookup("pin-source"), "file:", "env:", "tpm:path=", "prompt", "pinentry")
	fs.StringVar(&f.Module, "pkcs11-lib", "", "`file` of the PKCS #11 module, for references that do not name one (default: PKCS11_MODULE_PATH, or p11-kit-proxy)")
	fs.StringVar(&f.Isolation, isolationFlag, "", "`where` PKCS #11 modules run: off (in this process), on (in a helper process) or auto (on if holdfast-pkcs11 is installed) (default: HOLDFAST_PKCS11_ISOLATION; else auto for serve, agent, update, exec and ssh-agent; else off, or on in a build without cgo; see docs/pkcs11.md)")
	front.MarkValues(fs.Lookup(isolationFlag), isolations...)
}

const (
	isolationFlag      = "pkcs11-isolation"
	isolationAttribute = "isolation"
)

// isolations are the values of the attribute isolation, and of the flag and the variable
// for it.
var isolations = []string{"on", "off", "auto"}

// isolation returns the value of the flag or of the variable, and which of them has it; ""
// if none has.
func (m Modules) isolation(a front.App) (value, from string, err error) {
	if m.Isolation != "" {
		value, from = m.Isolation, "--"+isolationFlag
	} else if value = a.Env(isolationVariable); value != "" {
		from = "the environment variable " + isolationVariable
	}
	if value == "" || slices.Contains(isolations, value) {
		return value, from, nil
	}
	hint := "docs/pkcs11.md says in which process a module runs"
	if m.Isolation == "" {
		hint = "set the variable to one of these, or unset it; " + hint
	}
	return "", "", signer.WithHint(front.Usagef("%s: %q is not one of %s", from, value, strings.Join(isolations, ", ")), hint)
}

// Options returns the options for backends that the flags describe.
func (f *Device) Options(a front.App) (keystore.Options, error) {
	source, err := ParsePINSource(f.PINSource)
	if err != nil {
		return keystore.Options{}, err
	}
	return Key{PINSource: source}.Options(a, a.Logger(false))
}

// Complete returns ref with the attributes that the flags set and ref does not.
func (f *Device) Complete(a front.App, ref keystore.Ref) (keystore.Ref, error) {
	return complete(a, ref, f.Modules, false)
}
