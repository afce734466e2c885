package keystore_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// newClosedStore returns a Store that must not open anything.
func newClosedStore(t *testing.T) *keystore.Store {
	refuse := func(_ context.Context, ref keystore.Ref, _ keystore.Call) (signer.Signer, error) {
		t.Errorf("%s was opened", ref)
		return nil, errBroken
	}
	return keystore.New(
		&backend{"file", []string{"file", "env", "-"}, refuse},
		&backend{"pkcs11", []string{"pkcs11"}, refuse})
}

func TestDigest(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cert.pem", "certificate")
	write("same.pem", "certificate")
	write("other.pem", "another")
	write("certificate", "cert.pem")
	abs, err := filepath.Abs("key.pem")
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"CERT": "certificate", "KEY": "key", "OTHER": "another"}
	digest := func(id texts) string {
		t.Helper()
		parsed, err := id.parse()
		if err != nil {
			t.Fatal(err)
		}
		d, err := newClosedStore(t).Digest(t.Context(), parsed, keystore.Options{
			Stdin:     strings.NewReader("from standard input"),
			LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
			PIN: func(context.Context, keystore.Prompt) ([]byte, error) {
				t.Error("the PINFunc was called")
				return nil, errBroken
			},
		})
		if err != nil || d == "" {
			t.Fatalf("%+v: digest %q, %v", id, d, err)
		}
		return d
	}
	seen := make(map[string]texts)
	for _, same := range [][]texts{
		{{Certificate: "cert.pem"}, {Key: "cert.pem"}, {Key: "cert.pem", Certificate: "cert.pem"}, {Certificate: "same.pem"}, {Certificate: "env:CERT"}},
		{{Certificate: "other.pem"}},
		{{Certificate: "certificate"}},
		{{Certificate: "-"}},
		// key.pem does not exist, and Digest does not read it.
		{{Certificate: "cert.pem", Key: "key.pem"}, {Certificate: "same.pem", Key: abs}, {Certificate: "cert.pem", Key: "file:key.pem", Intermediates: "none.pem"}},
		{{Certificate: "other.pem", Key: "key.pem"}},
		{{Certificate: "cert.pem", Key: "key2.pem"}},
		{{Certificate: "key.pem", Key: "cert.pem"}},
		{{Certificate: "cert.pem", Key: "env:KEY"}},
		{{Certificate: "cert.pem", Key: "env:OTHER"}},
		{{Certificate: "cert.pem", Key: "-"}},
		{{Certificate: "cert.pem", Key: "pkcs11:object=a"}},
		{{Certificate: "cert.pem", Key: "pkcs11:object=b"}},
		{{Key: "pkcs11:object=a"}, {Certificate: "pkcs11:object=a"}, {Certificate: "PKCS11:object=a", Key: "PKCS11:object=a"}},
		{{Key: "pkcs11:object=a?pin-source=file:pin"}},
		{{Certificate: "pkcs11:object=a", Key: "pkcs11:object=b"}},
	} {
		if same[0].Certificate == "key.pem" {
			write("key.pem", "a key")
		} else {
			_ = os.Remove("key.pem")
		}
		first := digest(same[0])
		if other, ok := seen[first]; ok {
			t.Errorf("%+v and %+v have the same digest", other, same[0])
		}
		seen[first] = same[0]
		for _, id := range same[1:] {
			if digest(id) != first {
				t.Errorf("%+v and %+v have different digests", same[0], id)
			}
		}
	}

	before := digest(texts{Certificate: "env:CERT", Key: "env:KEY"})
	env["KEY"] = "another key"
	if digest(texts{Certificate: "env:CERT", Key: "env:KEY"}) == before {
		t.Error("a new key in the variable did not change the digest")
	}
}

func TestDigestFails(t *testing.T) {
	var bad *keystore.RefError
	for _, id := range []texts{
		{}, {Key: "env:"}, {Key: "nothing:x"}, {Certificate: "nothing:x"},
		{Key: "pkcs11:object=a?pin-value=s3cret"}, {Key: "PKCS11:object=a?Pin%2DValue =s3cret"}, {Key: "file:a;pin%2dvalue%3Ds3cret"},
		{Certificate: "env:CERT", Key: "pkcs11:object=a?pin-value=s3cret"},
	} {
		d := ""
		parsed, err := id.parse()
		if err == nil {
			d, err = newClosedStore(t).Digest(t.Context(), parsed, keystore.Options{LookupEnv: func(string) (string, bool) { return "x", true }})
		}
		if d != "" || !errors.As(err, &bad) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%+v: digest %q, %v", id, d, err)
		}
	}
	for _, id := range []texts{{Certificate: "none.pem"}, {Key: "env:NONE"}} {
		parsed, err := id.parse()
		if err != nil {
			t.Fatal(err)
		}
		_, err = newClosedStore(t).Digest(t.Context(), parsed, keystore.Options{LookupEnv: func(string) (string, bool) { return "", false }})
		var own *signer.Error
		if !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &own) {
			t.Errorf("%+v: %v", id, err)
		}
	}
}

// With Once, Digest and OpenIdentity together read standard input once.
func TestOnce(t *testing.T) {
	key := signertest.Key(t, "p256")
	chain := []*x509.Certificate{signertest.NewCA(t, "root").Issue(t, key, nil)}
	store := keystore.New(&backend{"file", []string{"-"}, func(ctx context.Context, ref keystore.Ref, call keystore.Call) (signer.Signer, error) {
		data, err := call.Read(ctx, ref)
		if err != nil || string(data) != "text" {
			t.Errorf("read %q, %v", data, err)
		}
		return &signertest.Fake{Key: key, Certificates: chain}, nil
	}})
	opts := keystore.Options{Stdin: strings.NewReader("text")}.Once()
	id := keystore.Identity{Certificate: refOf(t, "-")}
	if _, err := store.Digest(t.Context(), id, opts); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s, err := store.OpenIdentity(t.Context(), id, opts)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
}
