package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
)

func TestOSStoreReference(t *testing.T) {
	path := filepath.Join(t.TempDir(), "selector.json")
	if err := os.WriteFile(path, []byte(`[{"Key": "x509Subject", "Value": "CN=a\\;b"}, {"Key": "x509Serial", "Value": "00:0F"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	selector := "Key=x509Subject,Value=CN=app,O=Example Key=x509Issuer,Value=CN=Example CA"
	for _, test := range []struct {
		flags osStoreFlags
		goos  string
		want  string
	}{
		{osStoreFlags{selector: selector}, "windows", "winstore:subject=CN=app,O=Example;issuer=CN=Example CA"},
		{osStoreFlags{selector: selector, newest: true}, "darwin", "keychain:subject=CN=app,O=Example;issuer=CN=Example CA;newest=yes"},
		{osStoreFlags{selector: "file://" + path}, "windows", `winstore:subject=CN=a\%3Bb;serial=f`},
		{osStoreFlags{storeName: "MY"}, "windows", "winstore:store=MY"},
		{osStoreFlags{storeName: `LocalMachine\My`, newest: true}, "windows", "winstore:location=machine;store=My;newest=yes"},
		{osStoreFlags{storeName: `currentuser\a;b`}, "windows", "winstore:location=user;store=a%3Bb"},
		{osStoreFlags{storeName: `other\MY`}, "windows", `winstore:store=other\MY`},
	} {
		got, err := test.flags.reference(test.goos)
		if err != nil || got != test.want {
			t.Errorf("%+v: %s, error %v; want %s", test.flags, got, err, test.want)
		}
	}
	for _, test := range []struct {
		flags osStoreFlags
		goos  string
		want  error
	}{
		{osStoreFlags{selector: selector}, "linux", errors.ErrUnsupported},
		{osStoreFlags{storeName: "MY"}, "darwin", errors.ErrUnsupported},
		{osStoreFlags{selector: "file://" + path + "none"}, "windows", fs.ErrNotExist},
		{osStoreFlags{selector: "CN=app"}, "windows", nil},
		{osStoreFlags{selector: "CN=app"}, "linux", nil},
	} {
		got, err := test.flags.reference(test.goos)
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%+v: %s, error %v; want %v", test.flags, got, err, test.want)
		}
		if code, hint := explain(err); code == exitOther || hint == "" {
			t.Errorf("%+v: %v has exit code %d, hint %q", test.flags, err, code, signer.Hint(err))
		}
	}
}
