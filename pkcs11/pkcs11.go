package pkcs11

import (
	"context"
	"crypto/x509"
	"errors"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Backend opens "pkcs11:" references (RFC 7512). It is safe for concurrent use.
type Backend struct{}

// Name implements [keystore.Backend].
func (Backend) Name() string { return "pkcs11" }

// Schemes implements [keystore.Backend].
func (Backend) Schemes() []string { return []string{"pkcs11"} }

// Open implements [keystore.Backend].
func (Backend) Open(ctx context.Context, ref keystore.Ref, call keystore.Call) (signer.Signer, error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	k, err := open(ctx, cfg, &loaded)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// Certificates implements [keystore.CertificateReader]. It returns the
// certificates that the reference names and all CA certificates on the token,
// which may be their issuers. It does not ask for a PIN.
func (Backend) Certificates(ctx context.Context, ref keystore.Ref, call keystore.Call) (_ []*x509.Certificate, err error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	mod, err := bounded(ctx, cfg.in(&loaded), func() (*sharedModule, error) { return openModule(cfg) }, func(late *sharedModule) { _ = late.release() })
	if err != nil {
		return nil, err
	}
	returned := make(chan struct{}) // by the module
	certs, err := bounded(ctx, cfg.in(&loaded), func() ([]*x509.Certificate, error) {
		defer close(returned)
		return readCertificates(mod, cfg)
	}, nil)
	select {
	case <-returned:
		// The caller usually opens the key next, with the same module.
		return certs, errors.Join(err, call.Defer(mod.release))
	default:
		go func() { <-returned; _ = mod.release() }()
		return certs, err
	}
}

// readCertificates implements Certificates.
func readCertificates(mod *sharedModule, cfg Config) (_ []*x509.Certificate, err error) {
	t, err := oneToken(mod, cfg.URI)
	if err != nil {
		return nil, mod.explain(err)
	}
	session, err := mod.openSession(t.slot, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, mod.closeSession(session)) }()
	named, _, err := certificates(mod, session, cfg.URI)
	if err != nil || len(named) == 0 {
		return nil, errors.Join(err, signer.ErrNoCertificate)
	}
	all, _, err := certificates(mod, session, URI{})
	for _, c := range all {
		if c.IsCA { // another leaf could be mistaken for the named certificate
			named = append(named, c)
		}
	}
	return named, err
}

// Uses implements [keystore.Dependent]. It returns the PIN source, but not the
// module, whose file does not contain a key.
func (Backend) Uses(ref keystore.Ref) keystore.Uses {
	return keystore.UsesOfAttributes(ref.Rest, "?;&")
}

// SetAttribute implements [keystore.AttributeSetter] for module-path, pin-source and
// isolation. It does not add module-path to a reference with a module-name, or
// pin-source to one with a pin-value.
func (Backend) SetAttribute(ref keystore.Ref, name, value string) (keystore.Ref, error) {
	excludedBy, ok := map[string]string{"module-path": "module-name", "pin-source": "pin-value", "isolation": "isolation"}[name]
	if !ok {
		return ref, errors.ErrUnsupported
	}
	ref.Rest = addToQuery(ref.Rest, name, value, excludedBy)
	return ref, nil
}

// configFor converts a reference to a Config.
func configFor(ref keystore.Ref, call keystore.Call) (Config, error) {
	u, err := parseURI(ref.Rest)
	if err != nil {
		return Config{}, &keystore.RefError{Ref: ref.String(), Err: err}
	}
	cfg := Config{URI: u, PIN: call.PIN, Certificates: call.Certificates, Ref: ref, Logger: call.Logger, Now: call.Now, permit: call.Permit, longRunning: call.LongRunning}
	if call.Environ != nil {
		cfg.environ = call.ChildEnv(ref)
	}
	pin, err := pinOf(u, call)
	if err != nil {
		return Config{}, err
	}
	if pin != nil {
		cfg.PIN = pin
	}
	return cfg, nil
}

// pinOf returns a PINFunc for the pin-value or pin-source of u, or nil if u has
// neither.
func pinOf(u URI, call keystore.Call) (keystore.PINFunc, error) {
	switch {
	case u.PINValue != "":
		return call.PINValue(u.PINValue), nil
	case u.PINSource != "":
		source, err := keystore.ParsePINSource(u.PINSource)
		if err != nil {
			return nil, err
		}
		return call.PINSource(source)
	}
	return nil, nil
}
