package front

import "testing"

func TestQuoteReferences(t *testing.T) {
	for text, want := range map[string]string{
		"check the token": "check the token",
		"use one of: pkcs11:token=a;id=%01  pkcs11:token=b?module-path=/m.so": "use one of: 'pkcs11:token=a;id=%01'  'pkcs11:token=b?module-path=/m.so'",
		"pkcs11:a, or not":                   "pkcs11:a, or not",
		"a list (pkcs11:token=a;object=b).":  "a list ('pkcs11:token=a;object=b').",
		"read 'pkcs11:token=a;id=%01' there": "read 'pkcs11:token=a;id=%01' there",
		"with ?module-path=/m.so; or not":    "with ?module-path=/m.so; or not",
	} {
		if got := quoteReferences(text); got != want {
			t.Errorf("%s", got)
		}
	}
}
