//go:build !windows

package winstore

import (
	"crypto/x509"
	"errors"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

func TestUnsupportedOnOtherSystems(t *testing.T) {
	b, ref, opts := Backend{}, keystore.Ref{Scheme: scheme, Rest: "key=app"}, keystore.Call{}
	calls := map[string]func() error{
		"Open":         func() error { _, err := b.Open(t.Context(), ref, opts); return err },
		"Certificates": func() error { _, err := b.Certificates(t.Context(), ref, opts); return err },
		"List":         func() error { _, err := b.List(t.Context(), ref, opts); return err },
		"Generate":     func() error { _, err := b.Generate(t.Context(), ref, keystore.KeySpec{}, opts); return err },
		"Install": func() error {
			_, err := b.Install(t.Context(), ref, keystore.Installation{Certificates: []*x509.Certificate{{}}}, opts)
			return err
		},
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, errors.ErrUnsupported) || signer.Hint(err) == "" {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
