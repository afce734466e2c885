package all

import (
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
)

// The PIN of a certificate is for a key in the same device, if nothing else says
// what the PIN of the key is.
func TestSharePIN(t *testing.T) {
	const device = "token=t;serial=1;slot-id=2;library-version=2.40"
	for _, test := range []struct{ certificate, key, want string }{
		{"pkcs11:token=t;id=%02?pin-value=s3cret", "pkcs11:token=t;id=%02", "pkcs11:token=t;id=%02?pin-value=s3cret"},
		{"pkcs11:token=t?pin-source=env:PIN", "pkcs11:token=t", "pkcs11:token=t?pin-source=env:PIN"},
		{"PKCS11:object=a;type=cert;token=t?pin-value=1%262%20%25/", "pkcs11:token=%74;object=b;type=private", "pkcs11:token=%74;object=b;type=private?pin-value=1%262%20%25/"},
		{"pkcs11:?pin-value=s3cret", "pkcs11:", "pkcs11:?pin-value=s3cret"},
		{"pkcs11:" + device + "?pin-value=s3cret", "pkcs11:object=a;" + device, "pkcs11:object=a;" + device + "?pin-value=s3cret"},
		{"pkcs11:token=t?module-path=/m.so&pin-value=s3cret", "pkcs11:token=t?module-path=/m.so", "pkcs11:token=t?module-path=/m.so&pin-value=s3cret"},
		{"pkcs11:token=t?pin-source=tpm:path=a%3Bpin-source=env:B", "pkcs11:token=t", "pkcs11:token=t?pin-source=tpm:path=a%3Bpin-source=env:B"},

		// Another device, or perhaps another one.
		{"pkcs11:token=t?pin-value=s3cret", "pkcs11:token=u", ""},
		{"pkcs11:token=t?pin-value=s3cret", "pkcs11:", ""},
		{"pkcs11:?pin-value=s3cret", "pkcs11:token=t", ""},
		{"pkcs11:token=t;serial=1?pin-value=s3cret", "pkcs11:token=t", ""},
		{"pkcs11:token=t;serial=1?pin-value=s3cret", "pkcs11:token=t;serial=2", ""},
		{"pkcs11:token=t;model=a?pin-value=s3cret", "pkcs11:token=t;model=b", ""},
		{"pkcs11:token=t;manufacturer=a?pin-value=s3cret", "pkcs11:token=t;manufacturer=b", ""},
		{"pkcs11:slot-id=1?pin-value=s3cret", "pkcs11:slot-id=2", ""},
		{"pkcs11:token=t?pin-value=s3cret&module-path=/m.so", "pkcs11:token=t?module-path=/n.so", ""},
		{"pkcs11:token=t?pin-value=s3cret&module-name=m", "pkcs11:token=t", ""},
		{"tpm:path=a;pin-value=s3cret", "pkcs11:token=t", ""},
		{"pkcs11:token=t?pin-value=s3cret", "tpm:path=a", ""},
		{"pkcs11:token=t?pin-value=s3cret", "key.pem", ""},
		{"tpm:path=a;pin-value=s3cret", "tpm:path=a", ""},

		// The key has a PIN, the certificate has none, or one of them is malformed.
		{"pkcs11:token=t?pin-value=s3cret", "pkcs11:token=t?pin-value=1", ""},
		{"pkcs11:token=t?pin-value=s3cret", "pkcs11:token=t?pin-source=env:A", ""},
		{"pkcs11:token=t", "pkcs11:token=t", ""},
		{"pkcs11:token=t?pin-value=s3cret;x", "pkcs11:token=t", ""},
		{"pkcs11:token=t?pin-value=s3cret", "pkcs11:token=t;x", ""},
		{"pkcs11:token=t?pin-value=s3cret&pin-source=a", "pkcs11:token=t", ""},
	} {
		key := refOf(t, test.key)
		want := key
		if test.want != "" {
			want = refOf(t, test.want)
		}
		got := New().SharePIN(key, refOf(t, test.certificate))
		if got != want {
			t.Errorf("%s for %s: got %#v, want %s", test.certificate, test.key, got, want)
		}
		if strings.Contains(got.String(), "s3cret") {
			t.Errorf("%s for %s: prints as %s", test.certificate, test.key, got)
		}
	}
	certificate := refOf(t, "pkcs11:?pin-value=s3cret")
	if got := New().SharePIN(keystore.Ref{}, certificate); !got.IsZero() {
		t.Errorf("without a key: got %s", got)
	}
	if key := refOf(t, "pkcs11:"); New().SharePIN(key, keystore.Ref{}) != key {
		t.Error("the key changes without a certificate")
	}
}
