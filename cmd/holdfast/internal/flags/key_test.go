package flags

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

// Files and Variables depend only on the references of a key. serve watches the
// files, and exec removes the variables from the environment of its command.
func TestKeyUses(t *testing.T) {
	a := front.App{Store: all.New()}
	for _, test := range []struct {
		certificate, key, intermediates, pinSource string
		files, variables                           []string
	}{
		{"env:CERT", "env:KEY", "", "env:PIN", nil, []string{"KEY", "CERT", "PIN"}},
		{"tpm:path=f;parent-auth-source=env%3AKEY", "pkcs11:token=t;object=o?module-name=m&pin-source=env:PIN", "", "", []string{"f"}, []string{"PIN", "KEY"}},
		{"file:CERT", "KEY", "", "prompt", []string{"KEY", "CERT"}, nil},
		{"cert.pem", "tpm:path=/k%20k.pem;device=/dev/tpm0", "env:X", "", []string{"/k k.pem", "cert.pem"}, []string{"X"}},
		{"FILE", "", "pkcs11:object=ca?pin-source=env:PIN", "", []string{"FILE"}, []string{"PIN"}},
		{"pkcs11:token=x", "", "", "file:pin", nil, nil},
		{"cert.pem", "key.pem", "more.pem", "tpm:path=pin.pem", []string{"key.pem", "cert.pem", "more.pem"}, nil},
	} {
		var k Key
		var err error
		if k.Identity, err = parseIdentity(test.certificate, test.key, test.intermediates); err != nil {
			t.Fatal(err)
		}
		if k.PINSource, err = ParsePINSource(test.pinSource); err != nil {
			t.Fatal(err)
		}
		if got := k.Files(a); !slices.Equal(got, test.files) {
			t.Errorf("%+v: files %q, want %q", test, got, test.files)
		}
		if got := k.Variables(a); !slices.Equal(got, test.variables) {
			t.Errorf("%+v: variables %q, want %q", test, got, test.variables)
		}
	}
}

// The PIN in --certificate is for --private-key only if nothing else names a PIN.
func TestKeyWithThePINOfItsCertificate(t *testing.T) {
	const certificate, key = "pkcs11:token=t;type=cert?pin-value=s3cret", "pkcs11:token=t;type=private"
	for _, test := range []struct {
		key, pinSource, module string
		want                   string
	}{
		{key, "", "", key + "?pin-value=s3cret"},
		{key, "", "/m.so", key + "?module-path=/m.so&pin-value=s3cret"},
		{key, "prompt", "", key},
		{key, "pinentry", "", key},
		{key, "env:PIN", "/m.so", key + "?module-path=/m.so"},
		{key + "?module-path=/n.so", "", "/m.so", key + "?module-path=/n.so"},
		{"pkcs11:token=u", "", "", "pkcs11:token=u"},
		{"key.pem", "", "", "key.pem"},
		{"", "", "", ""},
	} {
		k := Key{modules: Modules{Module: test.module}}
		var err error
		if k.Identity, err = parseIdentity(certificate, test.key, ""); err != nil {
			t.Fatal(err)
		}
		if k.PINSource, err = ParsePINSource(test.pinSource); err != nil {
			t.Fatal(err)
		}
		id, err := k.complete(app(nil))
		if err != nil {
			t.Fatal(err)
		}
		want, err := parseIdentity("", test.want, "")
		if err != nil {
			t.Fatal(err)
		}
		if id.Key != want.Key {
			t.Errorf("%+v: got %#v", test, id.Key)
		}
	}
}

// The files of all PINs are found, also that of the PIN of a sealed PIN.
func TestKeyPINFiles(t *testing.T) {
	a := front.App{Store: all.New()}
	for _, test := range []struct {
		key, pinSource string
		want           []string
	}{
		{"pkcs11:object=o?pin-source=file:/etc/pin", "", []string{"/etc/pin"}},
		{"pkcs11:object=o", "file:/etc/pin", []string{"/etc/pin"}},
		{"pkcs11:object=o", "/etc/pin", []string{"/etc/pin"}},
		{"pkcs11:object=o", "tpm:path=/etc/sealed.pem", []string{"/etc/sealed.pem"}},
		{"tpm:path=key.pem;parent-auth-source=file:%2Fetc%2Fparent", "file:/etc/pin", []string{"/etc/parent", "/etc/pin"}},
		{"pkcs11:object=o?pin-source=env:PIN", "", nil},
		{"pkcs11:object=o?pin-value=1", "prompt", nil},
		{"key.pem", "", nil},
	} {
		var k Key
		var err error
		if k.Identity, err = parseIdentity("cert.pem", test.key, ""); err != nil {
			t.Fatal(err)
		}
		if k.PINSource, err = ParsePINSource(test.pinSource); err != nil {
			t.Fatal(err)
		}
		if got := k.PINFiles(a); !slices.Equal(got, test.want) {
			t.Errorf("%s, %s: files %q, want %q", test.key, test.pinSource, got, test.want)
		}
	}
}

// app returns an App with these environment variables.
func app(env map[string]string) front.App {
	return front.App{Store: all.New(), LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
}

// Flags set only attributes that a reference does not set itself.
func TestKeyComplete(t *testing.T) {
	for _, test := range []struct {
		certificate, key, module string
		newest                   bool
		wantCertificate, wantKey string
	}{
		{"", "", "/m.so", true, "", ""},
		{"cert.pem", "key.pem", "m.so", true, "cert.pem", "key.pem"},
		{"cert.pem", "PKCS11:object=a", "", false, "cert.pem", "pkcs11:object=a"},
		{"cert.pem", "pkcs11:object=a", "/m&n.so", false, "cert.pem", "pkcs11:object=a?module-path=/m%26n.so"},
		{"winstore:", "winstore:key=a", "", true, "winstore:newest=yes", "winstore:key=a"},
		{"pkcs11:token=a", "", "", true, "pkcs11:token=a", ""},
		{"cert.pem", "pkcs11:token=a", "/m.so", false, "cert.pem", "pkcs11:token=a?module-path=/m.so"},
		{"pkcs11:token=a?pin-source=env:PIN", "", "/m.so", true, "pkcs11:token=a?pin-source=env:PIN&module-path=/m.so", ""},
		{"pkcs11:token=a?module-name=m", "", "/m.so", false, "pkcs11:token=a?module-name=m", ""},
		{"winstore:subject=CN=a", "", "", true, "winstore:subject=CN=a;newest=yes", ""},
		{"keychain:label=a", "keychain:label=b", "", true, "keychain:label=a;newest=yes", "keychain:label=b"},
		{"winstore:newest=no;store=MY", "", "", true, "winstore:newest=no;store=MY", ""},
	} {
		k := Key{modules: Modules{Module: test.module}, newest: test.newest}
		var err error
		if k.Identity, err = parseIdentity(test.certificate, test.key, ""); err != nil {
			t.Fatal(err)
		}
		got, err := k.complete(app(nil))
		if err != nil || got.Certificate.String() != test.wantCertificate || got.Key.String() != test.wantKey {
			t.Errorf("%+v: %v, %v", test, got, err)
		}
	}
}

// An invalid reference is rejected before anything is opened, and the error
// does not contain the PIN of the reference.
func TestInvalidKey(t *testing.T) {
	for _, test := range []struct{ certificate, key, intermediates, module string }{
		{"", "env:", "", ""},
		{"env:", "key.pem", "", ""},
		{"", "key.pem", "env:", ""},
		{"", "key.pem", "pkcs11:?pin-value=s3cret\n", ""},
		{"", "unknown:pin-value=s3cret", "", "/m.so"},
		{"", "pkcs11:?pin-value=s3cret", "", strings.Repeat("m", 16<<10)},
	} {
		k := Key{modules: Modules{Module: test.module}}
		var err error
		if k.Identity, err = parseIdentity(test.certificate, test.key, test.intermediates); err == nil {
			_, err = k.complete(app(nil))
		}
		var refErr *keystore.RefError
		if !errors.As(err, &refErr) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%+v: error %.200v", test, err)
		}
	}
}

// A printed Key, alone or within another value, does not show a password.
func TestKeyPrintsNoPassword(t *testing.T) {
	cmd := &cobra.Command{}
	var f Identity
	f.Add(cmd)
	if err := cmd.ParseFlags([]string{"--private-key", "key.pem", "--pkcs8-password", "s3cret"}); err != nil {
		t.Fatal(err)
	}
	k, err := f.Key(cmd)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v"} {
		for _, value := range []any{k, &k, struct{ key Key }{k}} {
			if text := fmt.Sprintf(format, value); strings.Contains(text, "s3cret") {
				t.Errorf("%s: %s", format, text)
			}
		}
	}
	if given := k.pins.passwords(); given[0].value != "s3cret" {
		t.Errorf("the password is %q", given[0].value)
	}
}

// A key that --use-latest-expiring-certificate implies does not override the
// key of a configuration file.
func TestOrElseOfImpliedKey(t *testing.T) {
	ref := func(text string) keystore.Ref {
		r, err := keystore.ParseRef(text)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	implied := Key{Identity: keystore.Identity{Certificate: ref("winstore:newest=yes")}, newest: true, implied: true}
	if got := implied.OrElse(Key{}); got.Identity != implied.Identity {
		t.Errorf("without another key: %+v", got.Identity)
	}
	file := Key{Identity: keystore.Identity{Key: ref("key.pem")}}
	if got := implied.OrElse(file); got.Identity != file.Identity || !got.newest {
		t.Errorf("with another key: %+v", got)
	}
	named := implied
	named.implied = false
	if got := named.OrElse(file); got.Identity != named.Identity {
		t.Errorf("named certificate: %+v", got.Identity)
	}
}
