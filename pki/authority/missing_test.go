package authority_test

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
)

// Check tells of files that the index promises and that are not there, until the
// certificate is revoked and the next list is made.
func TestMissingFiles(t *testing.T) {
	a, key, dir := newCA(t)
	crl := filepath.Join(dir, "crl.pem")
	var serials []string
	for _, name := range []string{"kept", "lost", "revoked"} {
		c, err := a.Issue(t.Context(), key, template(t, a, name), "")
		if err != nil {
			t.Fatal(err)
		}
		serials = append(serials, serialOf(c))
	}
	list := func() []byte {
		text, err := a.CRL(t.Context(), key, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	want := func(texts ...string) {
		t.Helper()
		problems, err := a.Check()
		if err != nil || len(problems) != len(texts) {
			t.Fatalf("%v, %v; want %q", problems, err, texts)
		}
		for i, p := range problems {
			if !p.Missing || p.Repairable || !strings.Contains(p.Error(), texts[i]) {
				t.Errorf("%+v, want %q", p, texts[i])
			}
		}
	}
	first := list()
	want()
	if err := a.Revoke(t.Context(), serials[2], pki.Superseded); err != nil {
		t.Fatal(err)
	}
	entries, err := a.List()
	if err != nil || !entries[2].Unlisted || entries[1].Unlisted {
		t.Errorf("%+v, %v", entries, err)
	}
	list()
	if entries, err = a.List(); err != nil || entries[2].Unlisted {
		t.Errorf("%+v, %v", entries, err)
	}
	for _, serial := range serials[1:] {
		if err := os.Remove(filepath.Join(dir, "certificates", serial+".pem")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(crl, first, 0o600); err != nil {
		t.Fatal(err)
	}
	want(serials[1]+".pem: is missing: ", "crl.pem: has the number 1: ")
	if err := os.Remove(crl); err != nil {
		t.Fatal(err)
	}
	want(serials[1]+".pem: is missing: ", "crl.pem: is missing: ")
	if err := a.Revoke(t.Context(), serials[1], pki.Unspecified); err != nil {
		t.Fatal(err)
	}
	list()
	want()
}

// A published list can be restored in the forms in which it is published.
func TestFormsOfTheList(t *testing.T) {
	a, key, dir := newCA(t)
	text, err := a.CRL(t.Context(), key, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	in64 := func(data []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(data) + "\n") }
	for name, test := range map[string]struct {
		data  []byte
		sound bool
	}{
		"PEM": {text, true}, "DER": {block.Bytes, true}, "base64 of PEM": {in64(text), true}, "base64 of DER": {in64(block.Bytes), true},
		"twice": {bytes.Repeat(text, 2), false}, "nothing": {nil, false}, "JSON": {[]byte("{}"), false}, "text": {[]byte("text"), false},
	} {
		if err := os.WriteFile(filepath.Join(dir, "crl.pem"), test.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if problems := check(t, a); (len(problems) == 0) != test.sound {
			t.Errorf("%s: %v", name, problems)
		}
	}
}
