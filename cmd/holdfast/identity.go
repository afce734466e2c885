package main

import (
	"cmp"
	"context"
	"errors"
	"runtime"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// identityFlags name a key and its certificate, in every command that signs.
type identityFlags struct {
	identity  identityTexts
	pinSource string
	password  string // deprecated in help: others can read a command line
	module    string // for PKCS#11 references that name none
	reusePIN  bool

	tpmPassword   string // as password
	noTPMPassword bool

	osStore osStoreFlags
}

// identityTexts are references as they were given; "" is one that was not.
type identityTexts struct{ Key, Certificate, Intermediates string }

func (f *identityFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.identity.Certificate, "certificate", "", "certificate, also with its chain, as a `reference`: a file, -, env:NAME, pkcs11:… or winstore:…")
	fs.StringVar(&f.identity.Key, "private-key", "", "private key, as a `reference` (default: the one with --certificate)")
	fs.StringVar(&f.identity.Intermediates, "intermediates", "", "intermediate certificates in any order, as a `reference`")
	f.addPIN(fs)
	f.osStore.add(fs)
}

// addSource adds what also commands take that do not know aws_signing_helper.
func (f *identityFlags) addSource(fs *pflag.FlagSet) {
	fs.StringVar(&f.pinSource, "pin-source", "", "`where` the PIN or password is: file:PATH, env:NAME, tpm:path=PATH or prompt (default: prompt, if there is a terminal)")
	fs.StringVar(&f.module, "pkcs11-lib", "", "PKCS#11 module `file`, for references that name none (default: p11-kit-proxy)")
}

// addPIN adds what tells the PIN of a key.
func (f *identityFlags) addPIN(fs *pflag.FlagSet) {
	f.addSource(fs)
	fs.StringVar(&f.password, "pkcs8-password", "", "`password` of the key. Do not use it: every local user can read a command line; use --pin-source")
	fs.BoolVar(&f.reusePIN, "reuse-pin", false, "give a typed PIN again where the key asks at each signature")
	fs.StringVar(&f.tpmPassword, "tpm-key-password", "", "`password` of the TPM key. Do not use it: every local user can read a command line; use --pin-source")
	fs.BoolVar(&f.noTPMPassword, "no-tpm-key-password", false, "the TPM key has no password, whatever its file says")
}

// exclusive are the pairs that aws_signing_helper does not take together.
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

// check refuses what can be refused before anything is opened.
func (f *identityFlags) check(cmd *cobra.Command) error {
	if err := f.checkPairs(cmd); err != nil {
		return err
	}
	if f.identity.Key == "" && f.identity.Certificate == "" {
		return signer.WithHint(usagef("neither --certificate nor --private-key is given"),
			"name the files: --certificate cert.pem --private-key key.pem")
	}
	return nil
}

// checkPairs is check for flags that may name nothing.
func (f *identityFlags) checkPairs(cmd *cobra.Command) error {
	for _, pair := range exclusive {
		if cmd.Flags().Changed(pair[0]) && cmd.Flags().Changed(pair[1]) {
			return signer.WithHint(usagef("--%s excludes --%s", pair[0], pair[1]), "give one of them")
		}
	}
	given := func(name string) bool { return cmd.Flags().Changed(name) }
	nothingElse := f.identity.Key == "" && f.identity.Certificate == ""
	if given("cert-selector") || given("system-store-name") || f.osStore.newest && nothingElse && osStores[runtime.GOOS] != "" {
		var err error
		if f.identity.Certificate, err = f.osStore.reference(runtime.GOOS); err != nil {
			return err
		}
	}
	return nil
}

// open opens the key; the caller closes it.
func (f *identityFlags) open(ctx context.Context, a app, opts keystore.Options) (signer.Signer, error) {
	id, err := f.resolved(a.store())
	if err != nil {
		return nil, err
	}
	return a.store().OpenIdentity(ctx, id, opts)
}

// openAnew is open for commands that go on, and open their key several times.
func (f *identityFlags) openAnew(ctx context.Context, a app, debug bool) (signer.Signer, error) {
	opts, err := a.options(f, debug)
	if err != nil {
		return nil, err
	}
	return f.open(ctx, a, opts)
}

// resolved returns the references with what flags say of all of them.
func (f *identityFlags) resolved(store *keystore.Store) (keystore.Identity, error) {
	id, err := keystore.ParseIdentity(f.identity.Certificate, f.identity.Key)
	if err == nil && f.identity.Intermediates != "" {
		id.Intermediates, err = keystore.ParseRef(f.identity.Intermediates)
	}
	if err != nil {
		return keystore.Identity{}, err
	}
	for _, ref := range []*keystore.Ref{&id.Key, &id.Certificate, &id.Intermediates} {
		if *ref, err = setIfKnown(store, *ref, "module-path", f.module); err != nil {
			return keystore.Identity{}, err
		}
	}
	if f.osStore.newest {
		if id.Certificate, err = setIfKnown(store, id.Certificate, "newest", "yes"); err != nil {
			return keystore.Identity{}, err
		}
	}
	return id, nil
}

// setIfKnown sets an attribute of a reference, if there is one and if it is of a
// kind that has the attribute.
func setIfKnown(store *keystore.Store, ref keystore.Ref, name, value string) (keystore.Ref, error) {
	if ref.IsZero() {
		return ref, nil
	}
	set, err := store.SetAttribute(ref, name, value)
	if errors.Is(err, errors.ErrUnsupported) {
		return ref, nil
	}
	return set, err
}

// options are what backends get from the command line.
func (a app) options(f *identityFlags, debug bool) (keystore.Options, error) {
	opts := keystore.Options{Logger: a.logger(debug), Stdin: a.stdin, LookupEnv: a.lookupEnv}
	var err error
	opts.PIN, err = a.pinSource(f, opts)
	return opts, err
}

// certificateName is what errors call the certificate.
func (f *identityFlags) certificateName() string {
	return refName(cmp.Or(f.identity.Certificate, f.identity.Key))
}

// keyName is what errors call the key.
func (f *identityFlags) keyName() string {
	return refName(cmp.Or(f.identity.Key, f.identity.Certificate))
}

// refName is what errors call what text refers to: without a PIN, and "" if
// text is no reference.
func refName(text string) string {
	ref, err := keystore.ParseRef(text)
	if err != nil {
		return ""
	}
	return ref.String()
}
