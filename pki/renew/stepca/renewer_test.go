package stepca_test

import (
	"context"
	"crypto/x509"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/stepca/stepcatest"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Renewer renews three times in a row, then changes the key, and recovers from
// an outage of the CA that lasted longer than the certificate.
func TestRenewer(t *testing.T) {
	s := newSite(t)
	for name, newStore := range stores {
		t.Run(name, func(t *testing.T) {
			s := site{t, s.server, s.way}
			newKey := newStore(t)
			keys := map[string]signer.Signer{"": newKey(), "next": newKey()}
			current := s.enrol(keys[""], stepcatest.AfterExpiry)
			config := renew.Config{
				Way: s.way, StateFile: filepath.Join(t.TempDir(), "state"),
				Open: func(context.Context) (signer.Signer, error) { return signer.WithContext(t.Context(), current), nil },
				Install: func(_ context.Context, _ *x509.Certificate, name string, chain []*x509.Certificate) error {
					current = s.bind(keys[name], chain)
					return nil
				},
			}
			renewed := func() {
				t.Helper()
				before := current.Chain()[0]
				cert, err := renew.New(config).Renew(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if !cert.Equal(current.Chain()[0]) || cert.Equal(before) {
					t.Error("the certificate in use is not the new one")
				}
			}
			for range 3 {
				renewed()
			}
			current = s.expired(current)
			renewed()
			config.Key = func(context.Context, signer.Signer, string) (signer.Signer, string, error) {
				return signer.WithContext(t.Context(), keys["next"]), "next", nil
			}
			renewed()
			if !signer.SamePublicKey(current.Chain()[0].PublicKey, keys["next"].Public()) {
				t.Error("the certificate is for the old key")
			}
		})
	}
}
