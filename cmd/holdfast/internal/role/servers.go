package role

import (
	"crypto/x509"
	"fmt"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/est"
	"github.com/holdfast-dev/holdfast/pki/renew/stepca"
	"github.com/holdfast-dev/holdfast/pki/renew/vault"
	"github.com/holdfast-dev/holdfast/signer"
)

func stepWay(s Setup, a front.App) (renew.Way, error) {
	roots, err := s.caRoots()
	if err != nil {
		return nil, err
	}
	return usable(stepca.New(stepca.Config{URL: s.Renewal.CAURL, Roots: roots, Now: a.Now}))
}

func estWay(s Setup, a front.App) (renew.Way, error) {
	roots, err := s.caRoots()
	if err != nil {
		return nil, err
	}
	return usable(est.New(est.Config{URL: s.Renewal.CAURL, Roots: roots, Label: s.Renewal.CALabel, Now: a.Now}))
}

func vaultWay(s Setup, a front.App) (renew.Way, error) {
	r := s.Renewal
	if err := s.require(caSetting{r.CARole, "ca-role", "ca_role"}); err != nil {
		return nil, err
	}
	roots, err := s.caRoots()
	if err != nil {
		return nil, err
	}
	return usable(vault.New(vault.Config{
		URL: r.CAURL, Roots: roots, Role: r.CARole, Mount: r.CAMount, Namespace: r.CANamespace,
		LoginRole: r.CALoginRole, LoginMount: r.CALoginMount, Now: a.Now,
	}))
}

// usable returns way, or err as one of the usage.
func usable[W renew.Way](way W, err error) (renew.Way, error) {
	if err != nil {
		return nil, &front.UsageError{Err: err}
	}
	return way, nil
}

// A caSetting is the value of a setting of the renewal with its names.
type caSetting struct{ value, flag, key string }

// require returns an error if a setting is missing.
func (s Setup) require(settings ...caSetting) error {
	for _, required := range settings {
		if required.value == "" {
			return signer.WithHint(front.Usagef("the way %q needs %s", s.Renewal.Way, required.key),
				"set --"+required.flag+", or "+required.key+" in [role.renew]")
		}
	}
	return nil
}

// caRoots returns the certificates that verify the server of the CA, which the way
// needs.
func (s Setup) caRoots() (*x509.CertPool, error) {
	r := s.Renewal
	if err := s.require(caSetting{r.CAURL, "ca-url", "ca_url"}, caSetting{r.CARoots, "ca-roots", "ca_roots"}); err != nil {
		return nil, err
	}
	data, err := keystore.ReadFile(r.CARoots, keystore.MaxInput)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.CARoots, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, &front.CodeError{Code: front.ExitNotFound, Err: signer.WithHint(fmt.Errorf("%s: it contains no certificate in PEM", r.CARoots), "the file must contain the root certificate of the CA in PEM")}
	}
	return roots, nil
}
