package stepca_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"os"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/stepca"
	"github.com/holdfast-dev/holdfast/signer"
)

// The first certificate needs a one-time token, those after it the key alone.
func Example() {
	enrol := func(ctx context.Context, key signer.Signer, token string) ([]*x509.Certificate, error) {
		ca, err := newCA()
		if err != nil {
			return nil, err
		}
		csr, err := pki.NewRequest(rand.Reader, signer.WithContext(ctx, key), pki.CommonName("app-17"))
		if err != nil {
			return nil, err
		}
		return ca.Enroll(ctx, csr, token)
	}
	run := func(ctx context.Context, config renew.Config) error {
		ca, err := newCA()
		if err != nil {
			return err
		}
		config.Way = ca
		return renew.New(config).Run(ctx)
	}
	_, _ = enrol, run
}

func newCA() (*stepca.CA, error) {
	data, err := os.ReadFile("root_ca.crt")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, errors.New("root_ca.crt contains no certificate")
	}
	return stepca.New(stepca.Config{URL: "https://ca.example.com", Roots: roots})
}
