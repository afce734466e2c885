package flags

import (
	"context"
	"errors"
	"log/slog"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Key is a key with its certificates and where its PIN is, as flags say it,
// or a table of a configuration over them. It is a value, and changed as such.
type Key struct {
	Identity  keystore.Identity // as it was given
	PINSource PINSource

	pins    pins
	module  string // for references that name none
	newest  bool   // of several certificates the one that ends last
	implied bool   // the Identity is what newest alone stands for
}

// Check refuses a Key that names nothing.
func (k Key) Check() error {
	if k.IsZero() {
		return signer.WithHint(front.Usagef("neither --certificate nor --private-key is given"),
			"name the files: --certificate cert.pem --private-key key.pem")
	}
	return nil
}

// IsZero reports whether neither a key nor a certificate is named.
func (k Key) IsZero() bool { return k.Identity.Key.IsZero() && k.Identity.Certificate.IsZero() }

// OrElse returns k with what it leaves open taken from other. A key, its
// certificates and its PIN belong together: nothing of other's is taken if k
// names a key or a certificate. A PIN source, password or intermediates of k
// stand in the place of other's.
func (k Key) OrElse(other Key) Key {
	if !k.IsZero() && !(k.implied && !other.IsZero()) {
		return k
	}
	intermediates := k.Identity.Intermediates
	k.Identity, k.implied = other.Identity, false
	if !intermediates.IsZero() {
		k.Identity.Intermediates = intermediates
	}
	if k.PINSource == (PINSource{}) && !k.pins.given() {
		k.PINSource = other.PINSource
	}
	return k
}

// Open opens the key; the caller closes it. A device may hang in it: see
// [front.Interruptible].
func (k Key) Open(ctx context.Context, a front.App, logger *slog.Logger) (signer.Signer, error) {
	opts, err := k.Options(a, logger)
	if err != nil {
		return nil, err
	}
	return k.OpenWith(ctx, a, opts)
}

// OpenWith is Open with options that serve for more than to open the key.
func (k Key) OpenWith(ctx context.Context, a front.App, opts keystore.Options) (signer.Signer, error) {
	store := a.Store
	id, err := k.complete(store)
	if err != nil {
		return nil, err
	}
	return store.OpenIdentity(ctx, id, opts)
}

// Digest names the key and its certificate without opening them; see
// [keystore.Store.Digest].
func (k Key) Digest(ctx context.Context, a front.App, opts keystore.Options) (string, error) {
	store := a.Store
	id, err := k.complete(store)
	if err != nil {
		return "", err
	}
	return store.Digest(ctx, id, opts)
}

// Options are what backends get for this key.
func (k Key) Options(a front.App, logger *slog.Logger) (opts keystore.Options, err error) {
	opts = a.Options(logger)
	opts.PIN, err = k.pinFunc(a, opts)
	return opts, err
}

// Files returns the files whose change means another key or certificate.
func (k Key) Files(a front.App) []string {
	return a.Store.Uses(k.Identity.Key, k.Identity.Certificate, k.Identity.Intermediates).Files
}

// Variables returns the environment variables that hold the key or its PIN.
func (k Key) Variables(a front.App) []string {
	return a.Store.Uses(k.Identity.Key, k.Identity.Certificate, k.Identity.Intermediates, k.PINSource.Ref).Variables
}

// Name is what errors call the key.
func (k Key) Name() string { return firstOf(k.Identity.Key, k.Identity.Certificate) }

// CertificateName is what errors call the certificate.
func (k Key) CertificateName() string { return firstOf(k.Identity.Certificate, k.Identity.Key) }

func firstOf(a, b keystore.Ref) string {
	if a.IsZero() {
		a = b
	}
	return a.String()
}

// complete returns the references with what the flags add to them.
func (k Key) complete(store *keystore.Store) (id keystore.Identity, err error) {
	id = k.Identity
	for _, c := range []struct {
		ref    *keystore.Ref
		newest bool
	}{{&id.Key, false}, {&id.Certificate, k.newest}, {&id.Intermediates, false}} {
		if *c.ref, err = complete(store, *c.ref, k.module, c.newest); err != nil {
			return id, err
		}
	}
	return id, nil
}

// complete adds to a reference what it does not say itself, if it can say that.
func complete(store *keystore.Store, ref keystore.Ref, module string, newest bool) (keystore.Ref, error) {
	if ref.IsZero() {
		return ref, nil
	}
	attributes := []struct{ name, value string }{{"module-path", module}, {"newest", ""}}
	if newest {
		attributes[1].value = "yes"
	}
	for _, a := range attributes {
		if a.value == "" {
			continue
		}
		completed, err := store.SetAttribute(ref, a.name, a.value)
		switch {
		case errors.Is(err, errors.ErrUnsupported): // a kind of key that has no such
		case err != nil:
			return ref, err
		default:
			ref = completed
		}
	}
	return ref, nil
}
