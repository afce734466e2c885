package pkcs11

import (
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The error for a reference in the dialect of another tool says where its
// attribute belongs or what it is called, and never shows a PIN.
func TestForeignReference(t *testing.T) {
	for uri, want := range map[string]string{
		"pkcs11:token=prod;object=app;pin-value=9876":                 `attribute "pin-value" belongs after "?"`,
		"pkcs11:pin-value=9876;token=prod":                            `attribute "pin-value" belongs after "?"`,
		"pkcs11:token=prod;pin-source=file:9876?module-name=softhsm2": `attribute "pin-source" belongs after "?"`,
		"pkcs11:token=prod;module-path=/usr/lib/9876.so":              `attribute "module-path" belongs after "?"`,
		"pkcs11:token=prod;module-name=9876":                          `attribute "module-name" belongs after "?"`,
		"pkcs11:token=prod;PIN-Value=9876":                            `attribute "pin-value" belongs after "?"`,
		"pkcs11:?token=prod&object=9876":                              `attribute "token" belongs before "?"`,
		"pkcs11:token=prod?object=9876":                               `attribute "object" belongs before "?"`,
		"pkcs11:token=prod?module-path=/m.so;pin-value=9876":          `attribute "pin-value" follows ";", but it belongs after "?", where "&" separates attributes`,
		"pkcs11:token=prod&object=9876":                               `attribute "object" follows "&", but it belongs before "?", where ";" separates attributes`,
		"pkcs11:token=prod&pin-value=9876":                            `attribute "pin-value" belongs after "?"`,
		"pkcs11:token=prod?module-name=m;slot-description=9876":       `attribute "slot-description" belongs before "?"`,
		"pkcs11:token=prod;label=9876":                                `use the attribute "object"`,
		"pkcs11:token=prod;object-type=9876":                          `use the attribute "type"`,
		"pkcs11:slot=9876":                                            `use the attribute "slot-id"`,
		"pkcs11:token=prod;pin=9876":                                  `use the attribute "pin-source", after "?"`,
		"pkcs11:token=prod?library_path=9876":                         `use the attribute "module-path"`,
		"pkcs11:token=prod;module=9876":                               `use the attribute "module-path", after "?"`,
		"pkcs11:token=prod;object=app;pin-source=9876":                `write pkcs11:token=TOKEN;object=LABEL?pin-source=PATH`,
		"pkcs11:Private Key Object; 9876":                             `as in pkcs11:token=TOKEN;object=LABEL`,
		"pkcs11://token=prod;object=9876":                             `write pkcs11: without // after it`,
	} {
		_, err := ParseURI(uri)
		if err == nil {
			t.Errorf("%s: no error", uri)
			continue
		}
		if said := err.Error() + "\n" + signer.Hint(err); !strings.Contains(said, want) || strings.Contains(said, "9876") {
			t.Errorf("%s: %q, want %s", uri, said, want)
		}
	}
}

// Padding that was copied with a value, or is stored with a label, does not
// matter.
func TestPadding(t *testing.T) {
	for _, label := range []string{"app", "app\x00", "app\x00\x00\x00", "app   "} {
		token := newFakeToken("card")
		token.addKey(signertest.Key(t, "p256"), label, "\x01")
		token.addKey(signertest.NewKey(t, "p256"), "other", "\x02")
		b := newFixture(t, token)
		for _, uri := range []string{
			"pkcs11:object=app", "pkcs11:object=app%00", "pkcs11:token=card%00%00;object=app%00%00",
			"pkcs11:token=card%20%20;model=Fake%20%20%20;manufacturer=Test%20;object=app", "pkcs11:serial=serial%20of%20card%20%00;id=%01",
			"pkcs11:slot-description=slot%20%20%20;slot-manufacturer=Test%00;library-description=Fake%20library%20;object=app",
		} {
			k := b.mustOpen(t, uri, Config{PIN: fixedPIN(fakePIN)})
			if err := signOnce(k); err != nil || !signer.SamePublicKey(k.Public(), signertest.Key(t, "p256").Public()) {
				t.Errorf("label %q, %s: error %v, or another key", label, uri, err)
			}
			again := b.mustOpen(t, k.Ref().String(), Config{PIN: fixedPIN(fakePIN), Module: b.path})
			if !signer.SamePublicKey(again.Public(), k.Public()) {
				t.Errorf("label %q: %s opens another key", label, k.Ref())
			}
		}
	}
	for _, uri := range []string{"pkcs11:token=%20%20", "pkcs11:object=%00", "pkcs11:object=a%00b", "pkcs11:serial=%00%20"} {
		if u, err := ParseURI(uri); err == nil {
			t.Errorf("%s is %+v, want an error", uri, u)
		}
	}
}

// An ID in the notation of other tools is explained if the token has it.
func TestIDOfOtherTools(t *testing.T) {
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "app", "\x01\xab")
	b := newFixture(t, token)
	for uri, explained := range map[string]bool{"pkcs11:id=01ab": true, "pkcs11:id=0x01AB": true, "pkcs11:id=02ab": false, "pkcs11:id=app": false, "pkcs11:object=01ab": false} {
		_, err := b.open(t, uri, Config{PIN: fixedPIN(fakePIN)})
		hint := signer.Hint(err)
		if strings.Contains(hint, "each byte of an ID has a % before it") != explained || !strings.Contains(hint, "id=%01%AB") {
			t.Errorf("%s: error %v, hint %q", uri, err, hint)
		}
	}
}
