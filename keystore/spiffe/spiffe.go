package spiffe

import (
	"context"
	"crypto/x509"
	"errors"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

const scheme = "spiffe"

// Backend opens "spiffe:" references. It is safe for concurrent use.
type Backend struct{}

// Name implements [keystore.Backend].
func (Backend) Name() string { return scheme }

// Schemes implements [keystore.Backend].
func (Backend) Schemes() []string { return []string{scheme} }

// Open implements [keystore.Backend]. It waits for the API until ctx ends, and at most
// 10 seconds. The error wraps [signer.ErrNotFound] if the API has no such SVID for this
// process, and [signer.ErrUnavailable] if the API cannot be reached or does not answer.
func (Backend) Open(ctx context.Context, ref keystore.Ref, call keystore.Call) (signer.Signer, error) {
	return use(ctx, ref, call, func(s svid, named keystore.Ref) (signer.Signer, error) {
		return newKey(s, named, call.Time())
	})
}

// use fetches the SVID that ref selects, with a reference that names it, for the time of f.
func use[T any](ctx context.Context, ref keystore.Ref, call keystore.Call, f func(svid, keystore.Ref) (T, error)) (none T, _ error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return none, err
	}
	all, err := fetch(ctx, cfg.endpoint)
	if err != nil {
		return none, err
	}
	defer all.clear()
	i, err := all.choose(cfg)
	if err != nil {
		return none, err
	}
	return f(all[i], cfg.reference(all, i))
}

// Certificates implements [keystore.CertificateReader]. It returns the certificates of
// the SVID, leaf first, and does not decode the private key.
func (Backend) Certificates(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]*x509.Certificate, error) {
	return use(ctx, ref, call, func(s svid, _ keystore.Ref) ([]*x509.Certificate, error) { return s.certificates() })
}

// List implements [keystore.Lister]. It lists the SVIDs of this process that ref selects,
// each as a key and its certificate.
func (Backend) List(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]keystore.Entry, error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	all, err := fetch(ctx, cfg.endpoint)
	if err != nil {
		return nil, err
	}
	defer all.clear()
	var entries []keystore.Entry
	var broken []error
	for i, s := range all {
		if !cfg.matches(s) {
			continue
		}
		certs, err := s.certificates()
		if err != nil {
			broken = append(broken, err)
			continue
		}
		named := cfg.reference(all, i)
		entries = append(entries,
			keystore.Entry{Ref: named, Kind: keystore.KeyEntry, Public: signer.PublicKeyOf(certs[0]), Plaintext: true},
			keystore.Entry{Ref: named, Kind: keystore.CertificateEntry, Certificate: certs[0]})
	}
	return entries, errors.Join(broken...)
}

// Rebase implements [keystore.Rebaser] for the path of the socket.
func (Backend) Rebase(ref keystore.Ref, dir string) keystore.Ref {
	if a, err := parseRef(ref); err != nil || isURI(a["socket"]) {
		return ref
	}
	return keystore.RebaseAttributes(ref, dir, "socket")
}

// Advice implements [keystore.Adviser].
func (Backend) Advice() string {
	return "register the workload with the SPIFFE Workload API, which makes the key and the certificate, such as with spire-server entry create"
}
