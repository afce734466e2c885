package keystore_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// An identities is a Store. Its references key:… open a key that counts its
// Close calls, and its references cert:… name certificates.
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
	openKey := func(_ context.Context, ref keystore.Ref, _ keystore.Call) (signer.Signer, error) {
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
			func(_ context.Context, ref keystore.Ref, _ keystore.Call) ([]*x509.Certificate, error) {
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
		id    texts
		chain int
	}{
		{"key with its chain", texts{Key: "key:all"}, 2},
		{"key reference as certificate", texts{Certificate: "key:all"}, 2},
		{"one reference as both", texts{Key: "key:all", Certificate: "KEY:all"}, 2},
		{"separate references", texts{Key: "key:", Certificate: "cert:leaf"}, 1},
		{"separate references, and the key has other certificates", texts{Key: "key:all", Certificate: "cert:leaf"}, 1},
		{"three references", texts{Key: "key:", Certificate: "cert:leaf", Intermediates: "cert:intermediate"}, 2},
		{"leaf among the intermediates", texts{Key: "key:", Certificate: "cert:other", Intermediates: "cert:all"}, 2},
		{"intermediates for a key with its leaf", texts{Key: "key:leaf", Intermediates: "cert:intermediate"}, 2},
		{"empty intermediates", texts{Key: "key:leaf", Intermediates: "cert:none"}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			ids := newIdentities(t)
			s, err := test.id.open(t, ids.Store, keystore.Options{})
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
		id     texts
		want   error // anyRefError: a *keystore.RefError; nil: any
		opened int
		hint   bool
		names  string // in the error
	}{
		{"neither", texts{}, nil, 0, false, ""},
		{"only intermediates", texts{Intermediates: "cert:all"}, nil, 0, false, ""},
		{"bad key", texts{Key: "env:"}, anyRefError, 0, false, "env:"},
		{"bad certificate", texts{Key: "key:all", Certificate: "env:"}, anyRefError, 0, false, "env:"},
		{"bad intermediates", texts{Key: "key:all", Intermediates: "env:"}, anyRefError, 0, false, "env:"},
		{"unknown scheme of the key", texts{Key: "nothing:x"}, anyRefError, 0, true, "nothing:x"},
		{"unknown scheme of the certificate", texts{Key: "key:", Certificate: "nothing:x"}, anyRefError, 0, true, "nothing:x"},
		{"unknown scheme of the intermediates", texts{Key: "key:leaf", Intermediates: "nothing:x"}, anyRefError, 0, true, "nothing:x"},
		{"missing key", texts{Key: "key:missing", Certificate: "cert:leaf"}, signer.ErrNotFound, 0, false, "key:missing"},
		{"missing certificate", texts{Key: "key:", Certificate: "cert:missing"}, fs.ErrNotExist, 0, false, "cert:missing"},
		{"missing intermediates", texts{Key: "key:leaf", Intermediates: "cert:missing"}, fs.ErrNotExist, 0, false, "cert:missing"},
		{"no certificate", texts{Key: "key:"}, signer.ErrNoCertificate, 1, true, "key:"},
		{"no certificate behind the certificate's reference", texts{Key: "key:all", Certificate: "cert:none"}, signer.ErrNoCertificate, 1, true, "cert:none"},
		{"intermediates, but no certificate", texts{Key: "key:", Intermediates: "cert:all"}, signer.ErrNoCertificate, 1, true, "key:"},
		{"backend without certificates", texts{Key: "key:", Certificate: "key:all"}, errors.ErrUnsupported, 0, false, "key:all"},
		{"mismatch", texts{Key: "key:", Certificate: "cert:other"}, signer.ErrMismatch, 1, true, "cert:other"},
		{"mismatch of the chain", texts{Key: "key:other"}, signer.ErrMismatch, 1, true, "key:other"},
		{"PIN in a reference", texts{Key: "key:x?pin-value=s3cret"}, signer.ErrNoCertificate, 1, true, "pin-value=…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ids := newIdentities(t)
			s, err := test.id.open(t, ids.Store, keystore.Options{})
			if s != nil || err == nil {
				t.Fatalf("got %v, error %v", s, err)
			}
			if test.want == error(anyRefError) {
				if got := new(keystore.RefError); !errors.As(err, &got) {
					t.Errorf("error %v is not a RefError", err)
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

func TestParseIdentity(t *testing.T) {
	cert, key := refOf(t, "app.p12"), refOf(t, "pkcs11:object=a?pin-value=s3cret")
	for _, test := range []struct {
		certificate, key string
		want             keystore.Identity
		err              string // "": none
	}{
		{"", "", keystore.Identity{}, ""},
		{"app.p12", "", keystore.Identity{Certificate: cert}, ""},
		{"", "app.p12", keystore.Identity{Key: cert}, ""},
		{"app.p12", "PKCS11:object=a?pin-value=s3cret", keystore.Identity{Certificate: cert, Key: key}, ""},
		{"env:", "app.p12", keystore.Identity{}, `reference "env:"`},
		{"app.p12", "env:A=s3cret", keystore.Identity{}, `reference "env:A=…"`},
		{"app.p12", "pkcs11:?pin-value=s3cret\n", keystore.Identity{}, `reference "pkcs11:?pin-value=…"`},
	} {
		id, err := keystore.ParseIdentity(test.certificate, test.key)
		var refErr *keystore.RefError
		if id != test.want || (err == nil) != (test.err == "") || err != nil && (!errors.As(err, &refErr) || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%q, %q: got %+v, error %v", test.certificate, test.key, id, err)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v %v", id, id, id, err), "s3cret") {
			t.Errorf("%q, %q: shown as %#v, error %v", test.certificate, test.key, id, err)
		}
	}
}

// Every method of the Store with a Ref refuses the zero Ref.
func TestZeroRef(t *testing.T) {
	store := keystore.New(newFileBackend())
	none := keystore.Ref{}
	if !none.IsZero() || (keystore.Ref{Scheme: "-"}).IsZero() || (keystore.Ref{Rest: "a"}).IsZero() {
		t.Error("IsZero is wrong")
	}
	for name, f := range map[string]func() error{
		"Open": func() error { _, err := store.Open(t.Context(), none, keystore.Options{}); return err },
		"Generate": func() error {
			_, err := store.Generate(t.Context(), none, keystore.KeySpec{}, keystore.Options{})
			return err
		},
		"Install": func() error {
			_, err := store.Install(t.Context(), none, keystore.Installation{}, keystore.Options{})
			return err
		},
		"List":         func() error { _, err := store.List(t.Context(), none, keystore.Options{}); return err },
		"Seal":         func() error { return store.Seal(t.Context(), none, nil, keystore.Options{}) },
		"Digest":       func() error { _, err := store.Digest(t.Context(), keystore.Identity{}, keystore.Options{}); return err },
		"PINSource":    func() error { _, err := store.PINSource(none, keystore.Options{}); return err },
		"SetAttribute": func() error { _, err := store.SetAttribute(none, "newest", "yes"); return err },
	} {
		var refErr *keystore.RefError
		if err := f(); !errors.As(err, &refErr) || refErr.Ref != "" || !strings.HasSuffix(err.Error(), "is empty") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
