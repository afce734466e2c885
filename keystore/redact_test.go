package keystore_test

import (
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A private key of P-256 as text: PKCS #8 in base64 and in base64url, PEM in base64,
// the second line of the base64, and 32 bytes in hexadecimal.
const (
	keyDER  = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2"
	keyURL  = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb_"
	keyPEM  = "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1JR0hBZ0VBTUJNR0J5cUdTTTQ5"
	keyPart = "OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r1RTw"
	keyHex  = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
)

func TestRedact(t *testing.T) {
	const pin = "s3cret"
	for message, want := range map[string]string{
		`reference "pkcs11:?pin-value=` + pin + `": is bad`:                       `reference "pkcs11:?pin-value=…": is bad`,
		`reference "pkcs11:?PIN%2dvalue=` + pin + `&a=b": is bad`:                 `reference "pkcs11:?PIN%2dvalue=…": is bad`,
		`file: open pkcs11:?pin-value=` + pin + ` ` + pin + `: no such file`:      `file: open pkcs11:?pin-value=…`,
		`role "pass:\"` + pin + `" is bad`:                                        `role "pass:…" is bad`,
		`lookup pass:` + pin:                                                      `lookup pass:…`,
		`"a" and "pin-value=` + pin + `" and "pass:` + pin + `", b`:               `"a" and "pin-value=…" and "pass:…", b`,
		`reference "pkcs11:?pin-value=…": is bad`:                                 `reference "pkcs11:?pin-value=…": is bad`,
		`"C:\\a\\" is bad; write pin-value= after ?; openssl -passin pass: -in x`: `"C:\\a\\" is bad; write pin-value= after ?; openssl -passin pass: -in x`,
		`open /keys/pin-value=x.pem and my-pass:word`:                             `open /keys/pin-value=x.pem and my-pass:word`,
		`open ` + keyDER + `: no such file`:                                       `open …: no such file`,
		`open "x:` + keyURL + `": no such file`:                                   `open "x:…": no such file`,
		`open env:` + keyPEM + `==: is not set`:                                   `open env:…==: is not set`,
		`open /keys/` + keyDER + `/key.pem, a=b`:                                  `open /keys/` + keyDER + `/key.pem, a=b`,
		``:                                                                        ``, `\`: `\`, `"\`: `"\`, `pin-value=\`: `pin-value=…`,
	} {
		if got := keystore.Redact(message); got != want {
			t.Errorf("%s\n got %s\nwant %s", message, got, want)
		}
	}
}

func TestExcerpt(t *testing.T) {
	for text, want := range map[string]string{
		"cert.pem": "cert.pem", "/keys/password=x.pem": "/keys/password=x.pem", "pkcs11:token=t": "pkcs11:token=t",
		"pass:s3cret": "pass:…", "PIN:s3cret": "PIN:…", "pin=s3cret": "pin=…", "db-password=s3cret": "db-password=…",
		keyDER: "…", "file:" + keyDER: "file:…", "env:" + keyURL: "env:…", "APP=" + keyPEM: "APP=…", "data:application/x-pem;base64," + keyDER: "data:application/x-pem;base64,…",
		keyPart: "…", "env:" + keyPart: "env:…", keyHex: "…", "tpm:path=" + keyDER: "tpm:path=…",
		"./" + keyHex + ".pem": "./" + keyHex + ".pem", "/keys/" + keyHex: "/keys/" + keyHex, "winstore:sha256=" + keyHex: "winstore:sha256=" + keyHex,
		"pkcs11:object=" + keyHex: "pkcs11:object=" + keyHex, "arn:aws:iam::111122223333:role/" + keyPart: "arn:aws:iam::111122223333:role/" + keyPart,
		"APP_PIN=s3cret": "APP_PIN=…", "apikey=s3cret": "apikey=…", "AUTH-DATA=s3cret": "AUTH-DATA=…", "x_code=s3cret": "x_code=…", "AWS_SESSION_TOKEN=s3cret": "AWS_SESSION_TOKEN=…",
		"Credentials=s3cret": "Credentials=…", "USER=app": "USER=app",
		"pkcs11:token=t;object=y;user-pin=s3cret;id=1": "pkcs11:token=t;object=y;user-pin=…", "pkcs11:token=t?so-pin=s3cret": "pkcs11:token=t?so-pin=…",
		"pkcs11:token=t?color=s3cret": "pkcs11:token=t?color=…", "tpm:path=x;parent-auth=s3cret": "tpm:path=x;parent-auth=…", "tpm:owner-auth=s3cret": "tpm:owner-auth=…",
		"winstore:token=s3cret": "winstore:token=…", "keychain:token=t": "keychain:token=t",
		"env:PIN=s3cret": "env:PIN=…", "pkcs11:token=t?pin-value=s3cret": "pkcs11:token=t?pin-value=…",
	} {
		if got := keystore.Excerpt(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// The name of a file or variable that can be a key as text is not printed.
func TestKeyAsReference(t *testing.T) {
	for text, want := range map[string]string{
		keyPart: "…", "file:" + keyPart: "…", "env:" + keyPart: "env:…", keyHex: "…", "./" + keyHex: "./" + keyHex,
		"tpm:path=" + keyHex: "tpm:path=" + keyHex, "pkcs11:token=t;user-pin=1": "pkcs11:token=t;user-pin=…",
	} {
		ref, err := keystore.ParseRef(text)
		if err != nil || ref.String() != want {
			t.Errorf("%s: String is %s, error %v", text, ref, err)
		}
	}
	for _, text := range []string{keyDER, "file:" + keyDER, "env:" + keyURL, keyPEM, "tpm:path=" + keyDER, "data:;base64," + keyDER} {
		_, err := keystore.ParseRef(text)
		if err == nil || strings.Contains(err.Error(), "b2") || !strings.Contains(signer.Hint(err), "every local user") {
			t.Errorf("%s: error %v, hint %q", text, err, signer.Hint(err))
		}
	}
}

func TestPINAsSource(t *testing.T) {
	for _, text := range []string{"1234", "s3cret:x", "s3\ncret", "s3cret:\x00", "pass:s3cret", "aws:s3cret"} {
		ref, err := keystore.ParsePINSource(text)
		if err == nil {
			_, err = keystore.Call{}.PINSource(ref)
		}
		if err == nil || strings.Contains(err.Error(), "s3") || strings.Contains(err.Error(), "1234") {
			t.Errorf("%q: error %v", text, err)
		}
	}
}
