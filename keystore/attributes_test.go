package keystore_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
)

var knownAttributes = []string{"path", "handle", "pin-value"}

func TestParseAttributes(t *testing.T) {
	for _, test := range []struct {
		rest string
		want map[string]string // nil: refused
	}{
		{"path=key.pem", map[string]string{"path": "key.pem"}},
		{"handle=0x81010002;path=/a/b", map[string]string{"handle": "0x81010002", "path": "/a/b"}},
		{"path=a=b", map[string]string{"path": "a=b"}},
		{"path=%61%3b%25+ ü", map[string]string{"path": "a;%+ ü"}},
		{"path=%C3%BC%ff", map[string]string{"path": "ü\xff"}},
		{"path= ", map[string]string{"path": " "}},
		{`path=C:\key.pem`, map[string]string{"path": `C:\key.pem`}},
		{"path=tpm:path=inner.pem", map[string]string{"path": "tpm:path=inner.pem"}},
		{"path=tpm:path=inner.pem%3Bhandle=1", map[string]string{"path": "tpm:path=inner.pem;handle=1"}},

		{"", nil},
		{";", nil},
		{"path=a;", nil},
		{";path=a", nil},
		{"path=a;;handle=b", nil},
		{"key.pem", nil},
		{"path", nil},
		{"path=", nil},
		{"path=;handle=1", nil},
		{"=a", nil},
		{"Path=a", nil},
		{" path=a", nil},
		{"path =a", nil},
		{"p%61th=a", nil},
		{"paths=a", nil},
		{"path=a;path=a", nil},
		{"path=%", nil},
		{"path=%6", nil},
		{"path=%zz", nil},
		{"path=a%00b", nil},
		{"path=a%0Ab", nil},
		{"path=a%0d", nil},
		{"path=a\nb", nil},
		{"path=a&handle=b;handle", nil},
	} {
		got, err := keystore.ParseAttributes(test.rest, knownAttributes...)
		if !maps.Equal(got, test.want) || (err == nil) != (test.want != nil) {
			t.Errorf("%q: got %q, error %v, want %q", test.rest, got, err, test.want)
		}
	}
}

// Errors contain shortened attribute names, but no values.
func TestParseAttributesShowsNoValue(t *testing.T) {
	for _, rest := range []string{
		"pin-value=s3cret;pin-value=s3cret", "pin-value=s3cret%", "pin-value=s3cret%00", "pin-value=s3cret%0A",
		"pin-value=s3cret;PIN-VALUE=s3cret", "objekt=s3cret", "pin-value=a;s3cret", "s3cret", "=s3cret",
		"pin-value=a;s3cret=b", // the user meant one value
	} {
		_, err := keystore.ParseAttributes(rest, knownAttributes...)
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: error %v", rest, err)
		}
	}
	_, err := keystore.ParseAttributes(strings.Repeat("x", 1<<20)+"=a", knownAttributes...)
	if err == nil || len(err.Error()) > 200 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
	_, err = keystore.ParseAttributes("objekt=a", knownAttributes...)
	for _, name := range append([]string{"objekt"}, knownAttributes...) {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v does not name %q", err, name)
		}
	}
}

func TestFormatAttribute(t *testing.T) {
	for value, want := range map[string]string{
		"/dev/tpmrm0":      "path=/dev/tpmrm0",
		"a;b%c=d é":        "path=a%3Bb%25c=d é",
		"%3B":              "path=%253B",
		"tpm:path=a;b=c":   "path=tpm:path=a%3Bb=c",
		"\x1b\x7f\u0085":   "path=%1B%7F%C2%85", // control characters
		"a\xff\xc3b\ufffd": "path=a%FF%C3b\ufffd",
		"a\u202eb\u200f":   "path=a%E2%80%AEb%E2%80%8F", // the direction of text
		"a pin-value=b":    "path=a%20pin-value=b",
	} {
		if got := keystore.FormatAttribute("path", value); got != want {
			t.Errorf("%q: got %s, want %s", value, got, want)
		}
	}
}

func FuzzParseAttributes(f *testing.F) {
	for _, s := range []string{
		"", "path=key.pem", "handle=0x81010002;path=/a%20b", "path=%3B%25", "path=a;path=b", "pin-value=%00", "path=%zz;x", "=;=", "path=a\nb",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		// As the whole of a reference.
		if values, err := keystore.ParseAttributes(s, knownAttributes...); err == nil {
			var parts []string
			for name, value := range values {
				parts = append(parts, keystore.FormatAttribute(name, value))
			}
			again, err := keystore.ParseAttributes(strings.Join(parts, ";"), knownAttributes...)
			if err != nil || !maps.Equal(again, values) {
				t.Errorf("%q: got %q, but %q parses to %q, error %v", s, values, parts, again, err)
			}
		} else if values != nil {
			t.Errorf("%q: got %q and error %v", s, values, err)
		}
		// As a value.
		formatted := keystore.FormatAttribute("path", s)
		values, err := keystore.ParseAttributes(formatted, knownAttributes...)
		if refused := s == "" || strings.ContainsAny(s, "\x00\r\n"); refused != (err != nil) || !refused && values["path"] != s {
			t.Errorf("%q: written %q, read %q, error %v", s, formatted, values, err)
		}
	})
}
