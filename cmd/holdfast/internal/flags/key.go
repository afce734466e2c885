package flags

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/environ"
	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Key describes a key, its certificates and the source of its PIN. It comes
// from flags, from a configuration file or from both. It is a value: methods
// return a changed copy.
type Key struct {
	Identity  keystore.Identity // as parsed, before complete
	PINSource PINSource

	pins    pins
	modules Modules
	newest  bool // use the certificate that expires last
	implied bool // only newest was given, and Identity is the key store of the system
	hidden  []string
}

// Hiding returns k, but programs that its backends start do not get the named variables,
// which hold secrets of other keys. Those of k itself they never get.
func (k Key) Hiding(variables []string) Key {
	k.hidden = variables
	return k
}

// Check returns an error if k names neither a key nor a certificate.
func (k Key) Check() error {
	if k.IsZero() {
		return signer.WithHint(front.Usagef("neither --certificate nor --private-key is given"),
			"name the files: --certificate cert.pem --private-key key.pem")
	}
	return nil
}

// IsZero reports whether k names neither a key nor a certificate.
func (k Key) IsZero() bool { return k.Identity.Key.IsZero() && k.Identity.Certificate.IsZero() }

// PINFlag returns the flag of k that gives a PIN if k names no key of its own, so
// that the PIN is for the keys of a configuration file. It returns "" otherwise.
func (k Key) PINFlag() string {
	if !k.IsZero() && !k.implied {
		return ""
	}
	if k.PINSource != (PINSource{}) {
		return "pin-source"
	}
	return k.pins.given()
}

// OrElse returns k if it names a key or a certificate, and otherwise other with
// the intermediates, PIN source and password of k, where these are set. A key,
// its certificates and its PIN belong together, so a k that names a key uses
// nothing from other. An implied key does not replace the key of other.
func (k Key) OrElse(other Key) Key {
	if !k.IsZero() && !(k.implied && !other.IsZero()) {
		return k
	}
	intermediates := k.Identity.Intermediates
	k.Identity, k.implied = other.Identity, false
	if !intermediates.IsZero() {
		k.Identity.Intermediates = intermediates
	}
	if k.PINSource == (PINSource{}) && k.pins.given() == "" {
		k.PINSource = other.PINSource
	}
	return k
}

// Open opens the key. The caller closes it. The call may block in a device: see
// [front.Interruptible].
func (k Key) Open(ctx context.Context, a front.App, logger *slog.Logger) (signer.Signer, error) {
	opts, err := k.Options(a, logger)
	if err != nil {
		return nil, err
	}
	return k.OpenWith(ctx, a, opts)
}

// OpenWith is Open with the options that the caller got from [Key.Options].
func (k Key) OpenWith(ctx context.Context, a front.App, opts keystore.Options) (signer.Signer, error) {
	return k.watch(a, opts, func(id keystore.Identity, opts keystore.Options) (signer.Signer, error) {
		return a.Store.OpenIdentity(ctx, id, opts)
	})
}

// InFiles reports whether regular files contain the key and its certificates, so that
// opening it uses neither a device nor a program. A key that is in doubt is not. If opts is
// of [keystore.Options.Once], the files are not read again later.
func (k Key) InFiles(ctx context.Context, a front.App, opts keystore.Options) bool {
	id, err := k.complete(a)
	if err != nil {
		return false
	}
	for _, ref := range []keystore.Ref{id.Key, id.Certificate, id.Intermediates} {
		if ref.IsZero() {
			continue
		}
		path, isFile := ref.File()
		if info, err := os.Stat(path); !isFile || err != nil || !info.Mode().IsRegular() {
			return false
		}
		if name, err := a.Store.BackendOf(ctx, ref, opts); err != nil || name != "file" {
			return false
		}
	}
	return true
}

// OpenKey is [Key.Open], but the key needs no certificate if k does not name one.
func (k Key) OpenKey(ctx context.Context, a front.App, logger *slog.Logger) (signer.Signer, error) {
	if !k.Identity.Certificate.IsZero() {
		return k.Open(ctx, a, logger)
	}
	opts, err := k.Options(a, logger)
	if err != nil {
		return nil, err
	}
	return k.watch(a, opts, func(id keystore.Identity, opts keystore.Options) (signer.Signer, error) {
		return a.Store.Open(ctx, id.Key, opts)
	})
}

// watch opens the key with open. A watcher tells the person at the terminal what
// the device waits for.
func (k Key) watch(a front.App, opts keystore.Options, open func(keystore.Identity, keystore.Options) (signer.Signer, error)) (signer.Signer, error) {
	id, err := k.complete(a)
	if err != nil {
		return nil, err
	}
	watcher := &front.Watcher{App: a, Pinentry: k.PINSource.Pinentry, Logger: logging.OrDiscard(opts.Logger)}
	opts.PIN = watcher.PIN(opts.PIN)
	s, err := open(id, opts)
	if err != nil {
		return nil, err
	}
	return watcher.Watch(s, k.Name()), nil
}

// Watch calls changed when the store of the key has another certificate for it; see
// [keystore.Store.Watch].
func (k Key) Watch(ctx context.Context, a front.App, logger *slog.Logger, changed func(*x509.Certificate)) error {
	id, err := k.complete(a)
	if err != nil {
		return err
	}
	return a.Store.Watch(ctx, id, k.withoutPIN(a, logger), changed)
}

// Install stores certificates of the key where k reads them: in the file of the
// certificate, or else with the key; see [keystore.Store.Install].
func (k Key) Install(ctx context.Context, a front.App, certs []*x509.Certificate, opts keystore.Options) (keystore.Installed, error) {
	ref, in, err := k.installation(a, certs)
	if err != nil {
		return keystore.Installed{}, err
	}
	return a.Store.Install(ctx, ref, in, opts)
}

// CheckInstall returns an error if [Key.Install] could not replace certs, which are in
// use; see [keystore.Store.CheckInstall].
func (k Key) CheckInstall(ctx context.Context, a front.App, certs []*x509.Certificate, opts keystore.Options) error {
	ref, in, err := k.installation(a, certs)
	if err != nil {
		return err
	}
	if name, ok := k.Identity.Certificate.Variable(); ok {
		return signer.WithHint(fmt.Errorf("the certificate in the variable %s cannot be replaced", name), "store the certificate in a file, and name that with --certificate")
	}
	return a.Store.CheckInstall(ctx, ref, in, opts)
}

// installation returns where certificates are stored for the key with the reference.
func (k Key) installation(a front.App, certs []*x509.Certificate) (keystore.Ref, keystore.Installation, error) {
	id, err := k.complete(a)
	in := keystore.Installation{Certificates: certs}
	if id.Key.IsZero() {
		id.Key = id.Certificate
	}
	if path, ok := id.Certificate.File(); ok && id.Certificate != id.Key {
		in.File = path
	} else {
		in.Replace = true
	}
	return id.Key, in, err
}

// Successor returns a new key that is to take the place of the key of k, with its
// reference; see [keystore.Store.GenerateSuccessor]. It borrows old.
func (k Key) Successor(ctx context.Context, a front.App, old signer.Signer, opts keystore.Options) (signer.Signer, string, error) {
	id, err := k.complete(a)
	if err != nil {
		return nil, "", err
	}
	key, err := a.Store.GenerateSuccessor(ctx, id, old.Chain()[0], opts)
	if err != nil {
		return nil, "", err
	}
	return key, key.Ref().String(), nil
}

// OpenSuccessor opens the key that [Key.Successor] has returned with a reference.
func (k Key) OpenSuccessor(ctx context.Context, a front.App, reference string, opts keystore.Options) (signer.Signer, error) {
	ref, err := keystore.ParseRef(reference)
	if err != nil {
		return nil, err
	}
	return a.Store.Open(ctx, ref, opts)
}

// Succeed puts the key of [Key.Successor] in the place of the key of k; see
// [keystore.Store.Succeed].
func (k Key) Succeed(ctx context.Context, a front.App, old *x509.Certificate, successor string, certs []*x509.Certificate, opts keystore.Options) error {
	id, err := k.complete(a)
	if err != nil {
		return err
	}
	ref, err := keystore.ParseRef(successor)
	if err != nil {
		return err
	}
	return a.Store.Succeed(ctx, id, old, ref, certs, opts)
}

// Digest returns an identifier of the key and its certificate without opening
// them; see [keystore.Store.Digest].
func (k Key) Digest(ctx context.Context, a front.App, opts keystore.Options) (string, error) {
	id, err := k.completeWith(a, "") // in which process the key is makes no difference
	if err != nil {
		return "", err
	}
	return a.Store.Digest(ctx, id, opts)
}

// Options returns the options for backends to open this key.
func (k Key) Options(a front.App, logger *slog.Logger) (opts keystore.Options, err error) {
	opts = k.withoutPIN(a, logger)
	opts.PIN, err = k.pinFunc(a, opts)
	return opts, err
}

// withoutPIN returns the options without a PIN source. It is the one place that decides
// which variables a program of a backend gets.
func (k Key) withoutPIN(a front.App, logger *slog.Logger) keystore.Options {
	opts := a.Options(logger)
	if a.Environ != nil {
		opts.Environ = func() []string { return environ.Without(a.Environ(), slices.Concat(k.Variables(a), k.hidden)) }
	}
	return opts
}

// Files returns the files that contain the key and its certificates.
func (k Key) Files(a front.App) []string {
	return a.Store.Uses(k.Identity.Key, k.Identity.Certificate, k.Identity.Intermediates).Files
}

// PINFiles returns the files with the PIN of the key.
func (k Key) PINFiles(a front.App) []string {
	sources := a.Store.Uses(k.Identity.Key, k.Identity.Certificate, k.Identity.Intermediates).PINSources
	if !k.PINSource.Ref.IsZero() {
		sources = append(sources, k.PINSource.Ref)
	}
	all := a.Store.Uses(sources...)
	return a.Store.Uses(append(sources, all.PINSources...)...).Files
}

// Variables returns the environment variables that hold the key or its PIN.
func (k Key) Variables(a front.App) []string {
	return a.Store.Uses(k.Identity.Key, k.Identity.Certificate, k.Identity.Intermediates, k.PINSource.Ref).Variables
}

// Name returns the name of the key in errors.
func (k Key) Name() string { return firstRef(k.Identity.Key, k.Identity.Certificate) }

// KeyScheme returns the scheme of the reference that names the key, such as pkcs11.
func (k Key) KeyScheme(a front.App) string {
	return cmp.Or(a.Store.SchemeOf(k.Identity.Key), a.Store.SchemeOf(k.Identity.Certificate))
}

// CertificateName returns the name of the certificate in errors.
func (k Key) CertificateName() string { return firstRef(k.Identity.Certificate, k.Identity.Key) }

func firstRef(a, b keystore.Ref) string {
	if a.IsZero() {
		a = b
	}
	return a.String()
}

// complete returns the references with the attributes that the flags and the
// environment set. Without a PIN source, the PIN in the reference to a certificate
// is also for the key in the same token, as in aws_signing_helper.
func (k Key) complete(a front.App) (keystore.Identity, error) {
	isolation, _, err := k.modules.isolation(a)
	if err != nil {
		return k.Identity, err
	}
	return k.completeWith(a, isolation)
}

func (k Key) completeWith(a front.App, isolation string) (id keystore.Identity, err error) {
	id = k.Identity
	for _, c := range []struct {
		ref    *keystore.Ref
		newest bool
	}{{&id.Key, false}, {&id.Certificate, k.newest}, {&id.Intermediates, false}} {
		if *c.ref, err = completeWith(a, *c.ref, k.modules.Module, isolation, c.newest); err != nil {
			return id, err
		}
	}
	if k.PINSource == (PINSource{}) {
		id.Key = a.Store.SharePIN(id.Key, id.Certificate)
	}
	return id, nil
}

// complete sets the attributes module-path, isolation and newest of ref, unless ref
// sets them itself or its scheme does not have them. Without a module or an isolation,
// it uses that of the environment.
func complete(a front.App, ref keystore.Ref, m Modules, newest bool) (keystore.Ref, error) {
	isolation, _, err := m.isolation(a)
	if err != nil {
		return ref, err
	}
	return completeWith(a, ref, m.Module, isolation, newest)
}

func completeWith(a front.App, ref keystore.Ref, module, isolation string, newest bool) (keystore.Ref, error) {
	if ref.IsZero() {
		return ref, nil
	}
	attributes := []struct{ name, value string }{{"module-path", cmp.Or(module, a.Env(moduleVariable))}, {isolationAttribute, isolation}, {"newest", ""}}
	if newest {
		attributes[2].value = "yes"
	}
	for _, attribute := range attributes {
		if attribute.value == "" {
			continue
		}
		completed, err := a.Store.SetAttribute(ref, attribute.name, attribute.value)
		switch {
		case errors.Is(err, errors.ErrUnsupported): // the scheme has no such attribute
		case err != nil:
			return ref, err
		default:
			ref = completed
		}
	}
	return ref, nil
}
