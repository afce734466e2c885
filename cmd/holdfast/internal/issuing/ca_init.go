package issuing

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
)

// initFlags are the flags of ca init.
type initFlags struct {
	folder
	device       flags.Device
	reference    string
	generate     string
	plaintextKey bool

	subject     string
	lifetime    string
	pathLength  int
	request     bool
	certificate string
	crlURLs     []string
}

func caInit(a front.App) *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:        "init",
		SuggestFor: []string{"create", "new"},
		Short:      "Create a CA",
		Long: `Creates the folder of a CA and its self-signed certificate, and prints a script
with AWS CLI commands: it creates a trust anchor, and a role and a profile for
one machine. Run it with: sh FILE COMMON-NAME. holdfast ca show --commands
prints it again.

The key must exist, or --generate creates it. A key in a file must be encrypted,
unless you give --plaintext-key.

An intermediate CA needs two steps: --request prints a certificate request for
the CA above it, and --certificate creates the folder with the certificate that
was issued. --certificate also takes over a CA that other software created.`,
		Example: `  holdfast ca init --private-key ca-key.pem --generate p256 \
      --subject 'CN=Example CA,O=Example'
  holdfast ca init --dir hsm-ca --private-key 'pkcs11:token=ca;object=root' \
      --subject 'CN=Example CA'

  # an intermediate CA:
  holdfast ca init --private-key tpm:path=sub.pem --subject 'CN=Sub CA' \
      --request > sub.csr
  holdfast ca init --dir sub --private-key tpm:path=sub.pem \
      --certificate sub-chain.pem`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), a) },
	}
	front.KeyFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&f.reference, "private-key", "", "`reference` to the key of the CA: a file, pkcs11:…, tpm:…, winstore:… or another scheme; see docs/references.md")
		fs.StringVar(&f.generate, "generate", "", "generate the key first, of this `type`: "+strings.Join(caKeyTypes(), ", "))
		front.MarkValues(fs.Lookup("generate"), caKeyTypes()...)
		fs.BoolVar(&f.plaintextKey, "plaintext-key", false, "accept, or generate, a key in a file without a password")
		f.device.Add(fs)
	})
	front.NameFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&f.subject, "subject", "", "subject of the CA as a distinguished `name` (RFC 4514)")
	})
	fs := cmd.Flags()
	fs.StringVar(&f.lifetime, "lifetime", "", "`duration` of the certificate, such as 3650d (default: ten years)")
	fs.IntVar(&f.pathLength, "path-length", 0, "`number` of intermediate CAs that may be below this one")
	front.ListVar(fs, &f.crlURLs, "crl-url", "`URL` of the revocation list for certificates, if you publish it; can be repeated")
	fs.BoolVar(&f.request, "request", false, "only print a certificate request, for a CA above this one")
	fs.StringVar(&f.certificate, "certificate", "", "use the CA certificate in a `file`, with its issuers, instead of a new one")
	f.add(cmd, "object: folder, subject, serial, not_after, private_key, certificate, commands, trust_policy")
	return cmd
}

func (f *initFlags) check() (key flags.Key, profile pki.Profile, names pki.Names, err error) {
	profile = pki.Root
	profile.PathLength = f.pathLength
	switch {
	case f.reference == "":
		return key, profile, names, signer.WithHint(front.Usagef("--private-key is not given"), "name the key of the CA, as in --private-key ca-key.pem --generate p256")
	case f.request && f.certificate != "":
		return key, profile, names, signer.WithHint(front.Usagef("--request cannot be used with --certificate"), "use --request first, and --certificate when the certificate was issued")
	case f.certificate != "" && (f.subject != "" || f.lifetime != "" || f.pathLength != 0):
		return key, profile, names, signer.WithHint(front.Usagef("--certificate cannot be used with --subject, --lifetime or --path-length"), "the certificate determines these")
	case f.subject == "" && f.certificate == "":
		return key, profile, names, signer.WithHint(front.Usagef("--subject is not given"), "name the CA, as in --subject 'CN=Example CA'")
	case f.pathLength < 0:
		return key, profile, names, signer.WithHint(front.Usagef("--path-length %d is negative", f.pathLength), "0 means that the CA issues only certificates of machines")
	}
	if f.generate != "" {
		if err := flags.CheckKeyType("generate", f.generate, caKeyTypes()); err != nil {
			return key, profile, names, signer.WithHint(err, "use another type, as in --generate p256")
		}
	}
	if f.lifetime != "" {
		if profile.Lifetime, err = front.ParseLifetime("--lifetime", f.lifetime); err != nil {
			return key, profile, names, err
		}
	}
	if f.subject != "" {
		names.Subject, err = parseSubject(f.subject)
		if err == nil {
			err = names.Check()
		}
		if err == nil {
			err = names.CheckTags()
		}
	}
	if err == nil {
		err = checkURLs(f.crlURLs)
	}
	if err != nil {
		return key, profile, names, &front.UsageError{Err: err}
	}
	key, err = f.device.Key(f.reference)
	return key, profile, names, err
}

func (f *initFlags) run(ctx context.Context, a front.App) error {
	key, profile, names, err := f.check()
	if err != nil {
		return err
	}
	if !f.request {
		remove, err := newFolder(f.dir)
		if err != nil {
			return err
		}
		defer remove()
	}
	opts, err := f.options(a, key)
	if err != nil {
		return err
	}
	if f.generate != "" {
		if key, err = f.newKey(ctx, a, key, opts); err != nil {
			return err
		}
	} else if err := f.checkProtection(ctx, a, key, opts); err != nil {
		return err
	}
	err = withOptions(ctx, a, key, opts, func(ctx context.Context, s signer.Signer) error {
		if f.request {
			return f.printRequest(ctx, a, key.Identity.Key, s, names)
		}
		chain, err := f.chain(ctx, a, s, profile, names)
		if err != nil {
			return err
		}
		warnSameCA(a, f.dir, key.Identity.Key, chain[0])
		ca, err := authority.Create(f.dir, chain, authority.Options{Now: a.Now})
		if err != nil {
			return err
		}
		stored, err := f.writeConfig(a, key)
		return errors.Join(err, f.print(a, ca, stored))
	})
	if errors.Is(err, fs.ErrNotExist) && f.isFile(key) && !errors.Is(err, signer.ErrPINRequired) {
		err = signer.WithHint(err, "check the name, or generate the key with --generate p256")
	} else if errors.Is(err, signer.ErrNotFound) && f.generate == "" && f.certificate == "" {
		hint := strings.Replace(signer.Hint(err), "use one of: ", "otherwise use one of: ", 1)
		err = signer.WithHint(err, strings.TrimSuffix("to create this key, add --generate p256; "+hint, "; "))
	}
	return err
}

// newFolder makes a folder before the key is generated, so that no key is left
// over if there can be no folder. remove removes it if it is still empty and did
// not exist before.
func newFolder(dir string) (remove func(), err error) {
	if err := fileowner.Check(filepath.Join(dir, configFile)); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	other := func(e fs.DirEntry) bool { return !authority.Begun(e.Name()) }
	switch {
	case err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return authority.Holds(e.Name()) }):
		return nil, signer.WithHint(fmt.Errorf("the folder %s already contains a CA: %w", dir, fs.ErrExist),
			"use it with "+command("holdfast", "ca", "issue", "--dir", dir)+"; for another CA, name a new folder with --dir")
	case err == nil && slices.ContainsFunc(entries, other):
		return nil, signer.WithHint(fmt.Errorf("the folder %s is not empty: %w", dir, fs.ErrExist), "name a new folder with --dir; if the folder is from an attempt that was interrupted, remove it")
	case err == nil:
		return func() {}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return func() { _ = os.Remove(dir) }, os.MkdirAll(dir, 0o700) // Remove keeps a folder with files
}

// options returns the options to open or generate the key. A new key in a file
// gets a password, which a person enters twice, unless --plaintext-key is given.
func (f *initFlags) options(a front.App, key flags.Key) (keystore.Options, error) {
	opts, err := key.Options(a, a.Logger(false))
	if err != nil || key.PINSource.Ref != (keystore.Ref{}) {
		return opts, err
	}
	ask, answered := opts.PIN, []byte(nil)
	twice := front.Twice(key.PINSource.Ask(a))
	opts.PIN = func(ctx context.Context, p keystore.Prompt) (pin []byte, err error) {
		switch {
		case p.What != keystore.AskPassword || f.plaintextKey:
			return ask(ctx, p)
		case p.Optional:
			pin, err = twice(ctx, p)
			answered = slices.Clone(pin)
			if errors.Is(err, front.ErrNoTerminal) {
				err = signer.WithHint(err, "a key of a CA in a file needs a password: give it with --pin-source file:PATH, or do without it with --plaintext-key")
			}
			return pin, err
		case answered != nil: // to open the new key
			return answered, nil
		}
		return ask(ctx, p)
	}
	return opts, nil
}

// newKey generates the key of the CA.
func (f *initFlags) newKey(ctx context.Context, a front.App, key flags.Key, opts keystore.Options) (flags.Key, error) {
	const timeout = 4 * time.Minute // as for generate
	ctx, cancel := await.Limit(ctx, timeout)
	defer cancel()
	ref, err := f.device.Complete(a, key.Identity.Key)
	if err != nil {
		return key, err
	}
	made, err := front.InterruptibleValue(ctx, ref.String(), func() (keystore.Key, error) {
		return a.Store.Generate(ctx, ref, keystore.KeySpec{Type: keystore.KeyType(f.generate)}, opts)
	})
	if errors.Is(err, fs.ErrExist) {
		err = signer.WithHint(err, "to use the key that exists, leave out --generate; to make another one, choose a new name")
	}
	if err != nil {
		return key, err
	}
	key.Identity.Key = a.Store.SharePIN(made.Ref(), ref)
	fmt.Fprintf(a.Stderr, "the new key is %s\n", front.OneLine(front.ShellQuote(made.Ref().String())))
	return key, made.Close()
}

// checkProtection refuses a key in a file without a password.
func (f *initFlags) checkProtection(ctx context.Context, a front.App, key flags.Key, opts keystore.Options) error {
	if f.plaintextKey {
		return nil
	}
	opts.PIN, opts.Logger = nil, nil // that keys may be hidden does not matter here
	ctx, cancel := await.Limit(ctx, signTimeout)
	defer cancel()
	entries, _ := front.InterruptibleValue(ctx, key.Name(), func() ([]keystore.Entry, error) {
		return a.Store.List(ctx, key.Identity.Key, opts) // to open the key reports its errors
	})
	if slices.ContainsFunc(entries, func(e keystore.Entry) bool { return e.Plaintext }) {
		return signer.WithHint(fmt.Errorf("%s: the key of the CA has no password", key.Name()),
			"every program that can read the file can issue certificates: encrypt it, use a key in a device, or accept it with --plaintext-key")
	}
	return nil
}

// chain returns the certificate of the CA: a new one, or that of --certificate
// with its issuers.
func (f *initFlags) chain(ctx context.Context, a front.App, s signer.Signer, profile pki.Profile, names pki.Names) ([]*x509.Certificate, error) {
	bound := signer.WithContext(ctx, s)
	if f.certificate != "" {
		certs, err := certificatesOf(ctx, a, flags.Device{}, f.certificate)
		if err != nil {
			return nil, err
		}
		chain, err := signer.Chain(s.Public(), certs, a.Now())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", keystore.Excerpt(f.certificate), err)
		}
		if err := (pki.Issuer{Certificate: chain[0], Key: bound}).Check(a.Now()); err != nil {
			return nil, err
		}
		if err := (pki.Issuer{Certificate: chain[0], Key: bound}).CheckCRL(a.Now()); err != nil {
			a.Logger(false).Warn("holdfast ca crl will fail: "+err.Error(), "hint", signer.Hint(err))
		}
		if err := pki.CheckAnchor(chain[0]); err != nil {
			a.Logger(false).Warn(err.Error(), "hint", signer.Hint(err))
		}
		for _, c := range chain[1:] {
			if a.Now().After(c.NotAfter) {
				return nil, signer.WithHint(fmt.Errorf("%s: the certificate of the CA above, %q, expired at %s", keystore.Excerpt(f.certificate), c.Subject, day(c.NotAfter)), "get its new certificate from that CA")
			}
		}
		return chain, pki.CheckChain(withRoot(chain, certs))
	}
	serial, err := pki.NewSerial(rand.Reader)
	if err != nil {
		return nil, err
	}
	notBefore, notAfter := pki.Validity(nil, a.Now(), profile.Lifetime)
	root, err := pki.SelfSign(rand.Reader, bound, pki.Template{Profile: profile, Names: names, Serial: serial, NotBefore: notBefore, NotAfter: notAfter})
	return []*x509.Certificate{root}, err
}

// withRoot returns the chain with the root that issued the last certificate, if it
// is among certs.
func withRoot(chain, certs []*x509.Certificate) []*x509.Certificate {
	top := chain[len(chain)-1]
	for _, c := range certs {
		if !c.Equal(top) && certpath.CheckSignatureFrom(top, c) == nil {
			return append(slices.Clone(chain), c)
		}
	}
	return chain
}
