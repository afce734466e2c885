package keystore_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// identities is a store whose references key:… open a key that counts its
// closings, and whose references cert:… are certificates.
type identities struct {
	*keystore.Store
	keys []*signertest.Fake
}

func newIdentities(t *testing.T) *identities {
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	key, other := signertest.Key(t, "p256"), signertest.Key(t, "p384")
	leaf := ca.Issue(t, key, nil)
	certs := map[string][]*x509.Certificate{
		"leaf": {leaf}, "intermediate": {ca.Cert}, "all": {ca.Root(), ca.Cert, leaf},
		"other": {ca.Issue(t, other, nil)}, "none": nil,
	}
	ids := new(identities)
	openKey := func(_ context.Context, ref keystore.Ref, _ keystore.Options) (signer.Signer, error) {
		if ref.Rest == "missing" {
			return nil, signer.ErrNotFound
		}
		fake := &signertest.Fake{Key: key, Certificates: certs[ref.Rest]}
		ids.keys = append(ids.keys, fake)
		return fake, nil
	}
	ids.Store = keystore.New(
		&backend{"keys", []string{"key"}, openKey},
		reader{&backend{"certs", []string{"cert"}, openKey},
			func(_ context.Context, ref keystore.Ref, _ keystore.Options) ([]*x509.Certificate, error) {
				if c, ok := certs[ref.Rest]; ok {
					return c, nil
				}
				return nil, fs.ErrNotExist
			}})
	return ids
}

func TestOpenIdentity(t *testing.T) {
	for _, test := range []struct {
		name  string
		id    keystore.Identity
		chain int
	}{
		{"key with its chain", keystore.Identity{Key: "key:all"}, 2},
		{"the same as certificate", keystore.Identity{Certificate: "key:all"}, 2},
		{"the same as both", keystore.Identity{Key: "key:all", Certificate: "KEY:all"}, 2},
		{"apart", keystore.Identity{Key: "key:", Certificate: "cert:leaf"}, 1},
		{"apart, and the key has others", keystore.Identity{Key: "key:all", Certificate: "cert:leaf"}, 1},
		{"three parts", keystore.Identity{Key: "key:", Certificate: "cert:leaf", Intermediates: "cert:intermediate"}, 2},
		{"leaf among the intermediates", keystore.Identity{Key: "key:", Certificate: "cert:other", Intermediates: "cert:all"}, 2},
		{"more for a key with its leaf", keystore.Identity{Key: "key:leaf", Intermediates: "cert:intermediate"}, 2},
		{"no intermediates after all", keystore.Identity{Key: "key:leaf", Intermediates: "cert:none"}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			ids := newIdentities(t)
			s, err := ids.OpenIdentity(t.Context(), test.id, keystore.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if n := len(s.Chain()); n != test.chain {
				t.Errorf("chain of %d certificates, want %d", n, test.chain)
			}
			if len(ids.keys) != 1 || ids.keys[0].Closes() != 0 {
				t.Fatalf("%d keys opened, or closed before use", len(ids.keys))
			}
			if err := s.Close(); err != nil || ids.keys[0].Closes() != 1 {
				t.Errorf("Close: %v; the key was closed %d times, want once", err, ids.keys[0].Closes())
			}
		})
	}
}

func TestOpenIdentityFails(t *testing.T) {
	anyRefError := new(keystore.RefError)
	for _, test := range []struct {
		name   string
		id     keystore.Identity
		want   error // anyRefError: a *keystore.RefError; nil: any
		opened int
		hint   bool
		names  string // in the error
	}{
		{"neither", keystore.Identity{}, nil, 0, false, ""},
		{"neither, but intermediates", keystore.Identity{Intermediates: "cert:all"}, nil, 0, false, ""},
		{"bad key", keystore.Identity{Key: "env:"}, anyRefError, 0, false, "env:"},
		{"bad certificate", keystore.Identity{Key: "key:all", Certificate: "env:"}, anyRefError, 0, false, "env:"},
		{"bad intermediates", keystore.Identity{Key: "key:all", Intermediates: "env:"}, anyRefError, 0, false, "env:"},
		{"unknown scheme of the key", keystore.Identity{Key: "nothing:x"}, anyRefError, 0, true, "nothing:x"},
		{"unknown scheme of the certificate", keystore.Identity{Key: "key:", Certificate: "nothing:x"}, anyRefError, 0, true, "nothing:x"},
		{"unknown scheme of the intermediates", keystore.Identity{Key: "key:leaf", Intermediates: "nothing:x"}, anyRefError, 0, true, "nothing:x"},
		{"missing key", keystore.Identity{Key: "key:missing", Certificate: "cert:leaf"}, signer.ErrNotFound, 0, false, "key:missing"},
		{"missing certificate", keystore.Identity{Key: "key:", Certificate: "cert:missing"}, fs.ErrNotExist, 0, false, "cert:missing"},
		{"missing intermediates", keystore.Identity{Key: "key:leaf", Intermediates: "cert:missing"}, fs.ErrNotExist, 0, false, "cert:missing"},
		{"no certificate", keystore.Identity{Key: "key:"}, signer.ErrNoCertificate, 1, true, "key:"},
		{"no certificate in the certificate's place", keystore.Identity{Key: "key:all", Certificate: "cert:none"}, signer.ErrNoCertificate, 1, true, "cert:none"},
		{"intermediates, but no certificate", keystore.Identity{Key: "key:", Intermediates: "cert:all"}, signer.ErrNoCertificate, 1, true, "key:"},
		{"backend without certificates", keystore.Identity{Key: "key:", Certificate: "key:all"}, errors.ErrUnsupported, 0, false, "key:all"},
		{"mismatch", keystore.Identity{Key: "key:", Certificate: "cert:other"}, signer.ErrMismatch, 1, true, "cert:other"},
		{"mismatch of the chain", keystore.Identity{Key: "key:other"}, signer.ErrMismatch, 1, true, "key:other"},
		{"PIN in a reference", keystore.Identity{Key: "key:x?pin-value=s3cret"}, signer.ErrNoCertificate, 1, true, "pin-value=…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ids := newIdentities(t)
			s, err := ids.OpenIdentity(t.Context(), test.id, keystore.Options{})
			if s != nil || err == nil {
				t.Fatalf("got %v, error %v", s, err)
			}
			if test.want == error(anyRefError) {
				if got := new(keystore.RefError); !errors.As(err, &got) {
					t.Errorf("error %v is no RefError", err)
				}
			} else if test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if len(signerErrors(err)) > 1 {
				t.Errorf("error %q is wrapped twice", err)
			}
			if !strings.Contains(err.Error(), test.names) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error %q does not name %q", err, test.names)
			}
			if test.hint && signer.Hint(err) == "" {
				t.Errorf("error %q has no hint", err)
			}
			if len(ids.keys) != test.opened {
				t.Errorf("%d keys opened, want %d", len(ids.keys), test.opened)
			}
			for _, key := range ids.keys {
				if key.Closes() != 1 {
					t.Errorf("key was closed %d times, want once", key.Closes())
				}
			}
		})
	}
}
