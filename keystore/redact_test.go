package keystore_test

import (
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
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
		``: ``, `\`: `\`, `"\`: `"\`, `pin-value=\`: `pin-value=…`,
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
		"env:PIN=s3cret": "env:PIN=…", "pkcs11:token=t?pin-value=s3cret": "pkcs11:token=t?pin-value=…",
	} {
		if got := keystore.Excerpt(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}
