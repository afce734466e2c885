package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

// What flags say of all references is added to those that it means something to.
func TestResolved(t *testing.T) {
	for _, test := range []struct {
		flags identityFlags
		want  identityTexts // as references print
	}{
		{identityFlags{}, identityTexts{}},
		{identityFlags{module: "/m.so", osStore: osStoreFlags{newest: true}}, identityTexts{}},
		{identityFlags{identity: identityTexts{Key: "PKCS11:object=a", Certificate: "cert.pem", Intermediates: "-"}},
			identityTexts{Key: "pkcs11:object=a", Certificate: "cert.pem", Intermediates: "-"}},
		{identityFlags{identity: identityTexts{Key: "pkcs11:object=a", Certificate: "cert.pem", Intermediates: "pkcs11:object=b?module-name=c"}, module: "/m&n.so"},
			identityTexts{Key: "pkcs11:object=a?module-path=/m%26n.so", Certificate: "cert.pem", Intermediates: "pkcs11:object=b?module-name=c"}},
		{identityFlags{identity: identityTexts{Key: "winstore:key=a", Certificate: "winstore:"}, osStore: osStoreFlags{newest: true}},
			identityTexts{Key: "winstore:key=a", Certificate: "winstore:newest=yes"}},
		{identityFlags{identity: identityTexts{Certificate: "cert.pem"}, osStore: osStoreFlags{newest: true}}, identityTexts{Certificate: "cert.pem"}},
		{identityFlags{identity: identityTexts{Certificate: "pkcs11:token=a"}, osStore: osStoreFlags{newest: true}}, identityTexts{Certificate: "pkcs11:token=a"}},
	} {
		id, err := test.flags.resolved(all.New())
		if got := (identityTexts{id.Key.String(), id.Certificate.String(), id.Intermediates.String()}); err != nil || got != test.want {
			t.Errorf("%+v: got %+v, error %v, want %+v", test.flags, got, err, test.want)
		}
	}
	for _, flags := range []identityFlags{
		{identity: identityTexts{Key: "env:"}},
		{identity: identityTexts{Key: "key.pem", Certificate: "env:"}},
		{identity: identityTexts{Key: "key.pem", Intermediates: "env:"}},
		{identity: identityTexts{Key: "key.pem", Intermediates: "pkcs11:?pin-value=s3cret\n"}},
		{identity: identityTexts{Key: "unknown:pin-value=s3cret"}, module: "/m.so"},
		{identity: identityTexts{Key: "pkcs11:?pin-value=s3cret"}, module: strings.Repeat("m", 16<<10)},
	} {
		id, err := flags.resolved(all.New())
		var refErr *keystore.RefError
		if id != (keystore.Identity{}) || !errors.As(err, &refErr) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%+v: got %+v, error %.200v", flags.identity, id, err)
		}
	}
}
