package flags

import (
	"context"
	"crypto/x509"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
)

// Backend returns the name of the backend of the key. Like the other methods in
// this file, it does not open the key.
func (k Key) Backend(ctx context.Context, a front.App, opts keystore.Options) (string, error) {
	ref, err := k.ref(a)
	if err != nil {
		return "", err
	}
	return a.Store.BackendOf(ctx, ref, opts)
}

// Certificates returns the certificates that the references name, the
// intermediates last.
func (k Key) Certificates(ctx context.Context, a front.App, opts keystore.Options) (certs []*x509.Certificate, err error) {
	id, err := k.complete(a)
	if err != nil {
		return nil, err
	}
	if id.Certificate.IsZero() {
		id.Certificate = id.Key
	}
	for _, ref := range []keystore.Ref{id.Certificate, id.Intermediates} {
		if ref.IsZero() {
			continue
		}
		some, err := a.Store.Certificates(ctx, ref, opts)
		if err != nil {
			return certs, err
		}
		certs = append(certs, some...)
	}
	return certs, nil
}

// Tries returns the counts of PIN tries; see [keystore.Store.Tries].
func (k Key) Tries(ctx context.Context, a front.App, opts keystore.Options) ([]keystore.Tries, error) {
	ref, err := k.ref(a)
	if err != nil {
		return nil, err
	}
	return a.Store.Tries(ctx, ref, opts)
}

// Modules returns the modules that opening the key loads; see
// [keystore.Store.Modules].
func (k Key) Modules(a front.App) (modules []keystore.Module, err error) {
	id, err := k.complete(a)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, ref := range []keystore.Ref{id.Key, id.Certificate, id.Intermediates} {
		some, err := a.Store.Modules(ref)
		if err != nil {
			return modules, err
		}
		for _, m := range some {
			if !seen[m.Path] {
				seen[m.Path] = true
				modules = append(modules, m)
			}
		}
	}
	return modules, nil
}

// Isolation returns in which process these modules run, see [keystore.Store.Isolation], and
// a clause that names the setting which decides.
func (k Key) Isolation(a front.App) (in keystore.Isolation, setting string, err error) {
	ref, err := k.ref(a)
	if err != nil {
		return in, "", err
	}
	if in, err = a.Store.Isolation(ref, a.Options(nil)); err != nil {
		return in, "", err
	}
	own := k.Identity.Key
	if own.IsZero() {
		own = k.Identity.Certificate
	}
	completed, attributeErr := a.Store.SetAttribute(own, isolationAttribute, in.Value)
	_, from, _ := k.modules.isolation(a) // without an error: ref has it
	switch {
	case in.Value != "" && attributeErr == nil && completed == own:
		setting = "the reference has " + isolationAttribute + "=" + in.Value
	case from != "":
		setting = from + " is " + in.Value
	case a.LongRunning:
		setting = in.Value + " is the default of serve, update, exec and ssh-agent"
	default:
		setting = "no setting says otherwise"
	}
	return in, setting, nil
}

// KeyFiles returns the files that contain the key.
func (k Key) KeyFiles(a front.App) []string {
	if k.Identity.Key.IsZero() {
		return k.CertificateFiles(a)
	}
	return a.Store.Uses(k.Identity.Key).Files
}

// CertificateFiles returns the files that contain the certificate.
func (k Key) CertificateFiles(a front.App) []string {
	if k.Identity.Certificate.IsZero() {
		return a.Store.Uses(k.Identity.Key).Files
	}
	return a.Store.Uses(k.Identity.Certificate).Files
}

// PINSources returns the references of the sources of the PIN.
func (k Key) PINSources(a front.App) []keystore.Ref {
	sources := a.Store.Uses(k.Identity.Key, k.Identity.Certificate, k.Identity.Intermediates).PINSources
	if !k.PINSource.Ref.IsZero() {
		sources = append(sources, k.PINSource.Ref)
	}
	return sources
}

// AsksPerson reports whether the PIN comes from a person, unless the reference of
// the key names its source.
func (k Key) AsksPerson() bool {
	return k.PINSource.Asks() || k.PINSource.Ref.IsZero() && k.pins.given() == ""
}

// ref returns the completed reference of the key.
func (k Key) ref(a front.App) (keystore.Ref, error) {
	id, err := k.complete(a)
	if id.Key.IsZero() {
		return id.Certificate, err
	}
	return id.Key, err
}
