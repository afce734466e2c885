package program

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

const scheme = "exec"

// attributes are the attributes of a reference.
var attributes = []string{"program", "key", "pin-source"}

// Backend opens "exec:" references. It is safe for concurrent use.
type Backend struct{}

// Name implements [keystore.Backend].
func (Backend) Name() string { return scheme }

// Schemes implements [keystore.Backend].
func (Backend) Schemes() []string { return []string{scheme} }

// Open implements [keystore.Backend].
func (Backend) Open(ctx context.Context, ref keystore.Ref, call keystore.Call) (signer.Signer, error) {
	k, err := openRef(ctx, ref, call)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// Certificates implements [keystore.CertificateReader]. It starts the program, opens the
// key and closes it.
func (Backend) Certificates(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]*x509.Certificate, error) {
	k, err := openRef(ctx, ref, call)
	if err != nil {
		return nil, err
	}
	defer k.Close()
	certs := k.found
	if len(certs) == 0 {
		return nil, signer.ErrNoCertificate
	}
	return certs, nil
}

// Uses implements [keystore.Dependent]. The program is no file of the key.
func (Backend) Uses(ref keystore.Ref) keystore.Uses {
	return keystore.UsesOfAttributes(ref.Rest, ";")
}

// Rebase implements [keystore.Rebaser] for the path of the program. It does not make a
// path of a name without a folder, which Open refuses.
func (Backend) Rebase(ref keystore.Ref, dir string) keystore.Ref {
	a, err := keystore.ParseAttributes(ref.Rest, attributes...)
	if err != nil || !hasFolder(a["program"]) {
		return ref
	}
	return keystore.RebaseAttributes(ref, dir, "program")
}

// SetAttribute implements [keystore.AttributeSetter] for pin-source.
func (Backend) SetAttribute(ref keystore.Ref, name, value string) (keystore.Ref, error) {
	if name != "pin-source" {
		return ref, errors.ErrUnsupported
	}
	return keystore.WithAttribute(ref, name, value), nil
}

// Advice implements [keystore.Adviser].
func (Backend) Advice() string {
	return "use the tools of the service or the device behind the program; Holdfast only signs with its keys"
}

func openRef(ctx context.Context, ref keystore.Ref, call keystore.Call) (*Key, error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	return Open(ctx, cfg)
}

// configFor returns the Config of a reference.
func configFor(ref keystore.Ref, call keystore.Call) (Config, error) {
	refuse := func(err error) (Config, error) {
		return Config{}, &keystore.RefError{Ref: ref.String(), Err: err}
	}
	const example = "write exec:program=/usr/local/bin/kms-signer;key=NAME"
	a, err := keystore.ParseAttributes(ref.Rest, attributes...)
	switch {
	case err != nil && !strings.ContainsAny(ref.Rest, "=;"):
		return refuse(signer.WithHint(err, example))
	case err != nil:
		return refuse(err)
	case a["program"] == "":
		return refuse(signer.WithHint(errors.New("must contain program="), example))
	case !hasFolder(a["program"]):
		return refuse(signer.WithHint(fmt.Errorf("the program %q is a name without a folder, and PATH is not searched", a["program"]),
			"write its path, such as /usr/local/bin/"+a["program"]+", or ./"+a["program"]))
	}
	cfg := Config{
		Path: a["program"], Key: a["key"], PIN: call.PIN, Env: call.ChildEnv(ref),
		Certificates: call.Certificates, Ref: ref, Logger: call.Logger, Now: call.Now,
	}
	if a["pin-source"] == "" {
		return cfg, nil
	}
	source, err := keystore.ParsePINSource(a["pin-source"])
	if err == nil {
		cfg.PIN, err = call.PINSource(source)
	}
	return cfg, err
}

// hasFolder reports whether a path names the folder of a file, too.
func hasFolder(path string) bool { return filepath.Base(path) != path }
