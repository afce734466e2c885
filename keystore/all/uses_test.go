package all

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// uses has what references use: for each scheme the examples of
// docs/references.md, and special cases. A new backend whose references name a
// file, a variable or a PIN source implements [keystore.Dependent] and adds its
// references here.
var uses = map[string]struct {
	files, variables, sources []string
}{
	"key.pem":                     {files: []string{"key.pem"}},
	"/etc/pki/app/key.pem":        {files: []string{"/etc/pki/app/key.pem"}},
	`C:\keys\app.p12`:             {files: []string{`C:\keys\app.p12`}},
	"file:/etc/my%20keys/app.pem": {files: []string{"/etc/my keys/app.pem"}},
	"file:a;pin-source=env:X":     {files: []string{"a;pin-source=env:X"}},
	"-":                           {},
	"env:APP_KEY":                 {variables: []string{"APP_KEY"}},

	"pkcs11:token=prod;object=app?pin-source=file:/run/pin": {sources: []string{"/run/pin"}},
	"pkcs11:id=%01%02": {},
	"pkcs11:token=x":   {},
	"pkcs11:":          {},
	"pkcs11:token=t;object=o?module-name=m&pin-source=env:PIN":        {variables: []string{"PIN"}, sources: []string{"env:PIN"}},
	"pkcs11:token=t?module-path=/m.so&pin-source=/run/pin":            {sources: []string{"/run/pin"}},
	"pkcs11:?pin-source=tpm:path=/s.pem%3Bpin-source=env:PIN":         {variables: []string{"PIN"}, sources: []string{"tpm:path=/s.pem;pin-source=env:PIN", "env:PIN"}},
	"pkcs11:?pin-source=tpm:path=/s.pem;pin-source=env:PIN":           {variables: []string{"PIN"}, sources: []string{"tpm:path=/s.pem", "env:PIN"}}, // malformed
	"pkcs11:tokn=%zz;pin-source=env:A?pin-source=env%3AB&pin-source=": {variables: []string{"A", "B"}, sources: []string{"env:A", "env:B"}},
	"pkcs11:token=t?pin-source=pass:s3cret":                           {},
	"pkcs11:token=t?pin-value=s3cret":                                 {},

	"tpm:path=key.pem;pin-source=file:/run/pin":         {files: []string{"key.pem"}, sources: []string{"/run/pin"}},
	"tpm:handle=0x81010002":                             {},
	"tpm:path=/k%20k.pem;device=/dev/tpm0":              {files: []string{"/k k.pem"}},
	"tpm:path=f;parent-auth-source=env%3AKEY":           {files: []string{"f"}, variables: []string{"KEY"}, sources: []string{"env:KEY"}},
	"tpm:path=f;auth-source=env:KEY;=;path":             {files: []string{"f"}, variables: []string{"KEY"}, sources: []string{"env:KEY"}}, // malformed
	"tpm:path=a%3Bpath=b;pcrs=sha256:7;parent=owner":    {files: []string{"a;path=b"}},
	"tpm:path=%zz;pin-source=env:A=B":                   {},
	"tpm:path=a;pin-value=s3cret;pin-source=handle:1":   {files: []string{"a"}, sources: []string{"handle:1"}},
	"handle:81010002":                                   {},
	"handle:path=a;pin-source=env:X":                    {},
	"winstore:location=machine;store=MY;subject=CN=app": {},
	"winstore:key=app;provider=software":                {},
	"winstore:store=/etc/key.pem":                       {},
	"keychain:label=app":                                {},
	"keychain:subject=CN=app;newest=yes":                {},
	"keychain:path=/etc/key.pem;pin-source=env:X":       {},
	"sshagent:": {},
	"sshagent:sha256=MQxf6DtcrWRyTkhRnRVkXYFKI0n6xhjVRMmi1SkWyEU": {},
	"sshagent:socket=/run/agent;comment=a%3Bpublic=b":             {},
	"sshagent:public=id.pub;socket=/run/agent":                    {files: []string{"id.pub"}},
	"spiffe:":                  {},
	"spiffe://example.org/app": {},
	"spiffe:socket=/run/spire/agent/public/api.sock;hint=internal":   {},
	"unknown:path=/etc/key.pem;pin-source=env:X":                     {},
	"exec:program=/usr/local/bin/kms-signer;key=projects/p/keys/app": {},
	"exec:program=./sign;key=/etc/key.pem;pin-source=env:PIN":        {variables: []string{"PIN"}, sources: []string{"env:PIN"}},
	"exec:program=%zz;pin-source=file:/run/pin":                      {sources: []string{"/run/pin"}},
}

func TestUses(t *testing.T) {
	store := New()
	for text, want := range uses {
		var sources []keystore.Ref
		for _, s := range want.sources {
			sources = append(sources, refOf(t, s))
		}
		got := store.Uses(refOf(t, text))
		if !reflect.DeepEqual(got, keystore.Uses{Files: want.files, Variables: want.variables, PINSources: sources}) {
			t.Errorf("%s: got %+v, want %+v", refOf(t, text), got, want)
		}
	}
	for _, row := range tables(t)["scheme"] {
		for _, example := range spans(row[1]) {
			if _, ok := uses[example]; !ok {
				t.Errorf("the example %s of docs/references.md is not in the table uses", example)
			}
		}
	}
	for _, b := range Backends() {
		for _, scheme := range b.Schemes() {
			has := false
			for text := range uses {
				has = has || refOf(t, text).Scheme == scheme
			}
			if !has {
				t.Errorf("no reference with scheme %q is in the table uses", scheme)
			}
		}
	}
}

// Uses returns the files of several references in order, without duplicates.
func TestUsesOfAnIdentity(t *testing.T) {
	store := New()
	got := store.Uses(refOf(t, "tpm:path=/k%20k.pem;device=/dev/tpm0"), refOf(t, "cert.pem"), refOf(t, "env:X"))
	if want := []string{"/k k.pem", "cert.pem"}; !slices.Equal(got.Files, want) {
		t.Errorf("got %q, want %q", got.Files, want)
	}
	if got := store.Uses(refOf(t, "pkcs11:token=x"), keystore.Ref{}); len(got.Files) != 0 {
		t.Errorf("got %q", got.Files)
	}
	for _, test := range []struct{ refs, variables []string }{
		{[]string{"env:KEY", "env:CERT", "env:PIN"}, []string{"KEY", "CERT", "PIN"}},
		{[]string{"pkcs11:token=t;object=o?module-name=m&pin-source=env:PIN", "tpm:path=f;parent-auth-source=env%3AKEY"}, []string{"PIN", "KEY"}},
		{[]string{"KEY", "file:CERT", "prompt"}, nil},
	} {
		var refs []keystore.Ref
		for _, text := range test.refs {
			refs = append(refs, refOf(t, text))
		}
		if got := store.Uses(refs...).Variables; !slices.Equal(got, test.variables) {
			t.Errorf("%q: got %q, want %q", test.refs, got, test.variables)
		}
	}
}

// nonKeyAttributes are attributes that name files without a key, or text for a
// program.
var nonKeyAttributes = []string{"module-path", "program", "key"}

// unreportedFiles returns the existing files that a reference names, but that
// Uses reports neither for the reference nor for its PIN sources.
func unreportedFiles(store *keystore.Store, ref keystore.Ref) []string {
	u := store.Uses(ref)
	reported := slices.Concat(u.Files, store.Uses(u.PINSources...).Files)
	return slices.DeleteFunc(filesIn(ref.Rest), func(file string) bool { return slices.Contains(reported, file) })
}

// A bare backend hides the capabilities of a Backend.
type bare struct{ keystore.Backend }

func TestUnreportedFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, b := range Backends() {
		ref := keystore.Ref{Scheme: b.Schemes()[0], Rest: "path=" + path}
		if ref.Scheme == keystore.SchemeFile {
			ref.Rest = path
		}
		if got := unreportedFiles(keystore.New(bare{b}), ref); !slices.Equal(got, []string{path}) {
			t.Errorf("%s without Uses: %q", b.Name(), got)
		}
	}
	if got := unreportedFiles(New(), refOf(t, "tpm:path="+path+";pin-source=file:"+path)); len(got) != 0 {
		t.Errorf("tpm: %q", got)
	}
}

// filesIn returns the existing files that text names, as a whole or in an
// attribute. It splits at the separators of every grammar.
func filesIn(text string) (files []string) {
	for _, part := range append(strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(";?&,", r) }), text) {
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			name, value = "", part
		}
		value, err := url.PathUnescape(value)
		if err != nil || slices.Contains(nonKeyAttributes, name) {
			continue
		}
		for _, path := range []string{value, strings.TrimPrefix(value, "file:")} {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && !slices.Contains(files, path) {
				files = append(files, path)
			}
		}
	}
	return files
}

func TestFilesIn(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b c")
	for _, path := range []string{a, b} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	escaped := strings.ReplaceAll(b, " ", "%20")
	for text, want := range map[string][]string{
		a: {a}, "path=" + a: {a}, "x=1;path=" + escaped + "?y=file:" + a: {b, a}, "path=" + dir: nil, "path=" + a + "x": nil, "module-path=" + a: nil, "": nil,
	} {
		if got := filesIn(text); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func TestSetAttribute(t *testing.T) {
	const module = "/lib/a b&c;d=e?f#g%h+é,'(~).so" // percent-encoded:
	const encoded = "/lib/a%20b%26c%3Bd=e%3Ff%23g%25h+%C3%A9%2C%27%28~%29.so"
	for _, test := range []struct{ ref, name, value, want string }{
		{"winstore:", "newest", "yes", "winstore:newest=yes"},
		{"winstore:subject=CN=a", "newest", "yes", "winstore:subject=CN=a;newest=yes"},
		{"Keychain:label=a", "newest", "yes", "Keychain:label=a;newest=yes"},
		{"winstore:newest=no;store=MY", "newest", "yes", "winstore:newest=no;store=MY"},
		{"keychain:label=a;newest=no", "newest", "yes", "keychain:label=a;newest=no"},
		{"winstore:key=a", "newest", "yes", "winstore:key=a"},
		{"winstore:store=newest=1;subject=CN=key=", "newest", "yes", "winstore:store=newest=1;subject=CN=key=;newest=yes"},

		{"pkcs11:", "module-path", "/m.so", "pkcs11:?module-path=/m.so"},
		{"pkcs11:token=t", "module-path", module, "pkcs11:token=t?module-path=" + encoded},
		{"PKCS11:token=t?pin-source=/p", "module-path", "/m.so", "pkcs11:token=t?pin-source=/p&module-path=/m.so"},
		{"pkcs11:token=t?module-path=/other.so", "module-path", "/m.so", "pkcs11:token=t?module-path=/other.so"},
		{"pkcs11:token=t?pin-source=/p&module-name=m", "module-path", "/m.so", "pkcs11:token=t?pin-source=/p&module-name=m"},
		{"pkcs11:object=module-path=/x", "module-path", "/m.so", "pkcs11:object=module-path=/x?module-path=/m.so"},
		{"pkcs11:token=t?pin-source=/module-path=x", "module-path", "/m.so", "pkcs11:token=t?pin-source=/module-path=x&module-path=/m.so"},
		{"pkcs11:token=t?", "module-path", "/m.so", "pkcs11:token=t?module-path=/m.so"},
		{"pkcs11:tokn=%zz;;?x&", "module-path", "/m.so", "pkcs11:tokn=%zz;;?x&&module-path=/m.so"}, // malformed parts stay unchanged
		{"pkcs11:token=t?pin-value=s3cret", "module-path", "/m.so", "pkcs11:token=t?pin-value=s3cret&module-path=/m.so"},
		{"pkcs11:token=t", "module-path", "rel\n", "pkcs11:token=t?module-path=rel%0A"},
		{"pkcs11:token=t", "pin-source", "tpm:path=a;pin-source=env:B", "pkcs11:token=t?pin-source=tpm:path=a%3Bpin-source=env:B"},
		{"pkcs11:token=t?pin-value=s3cret", "pin-source", "/p", "pkcs11:token=t?pin-value=s3cret"},
		{"pkcs11:token=t?pin-source=/p", "pin-source", "/q", "pkcs11:token=t?pin-source=/p"},

		{"tpm:path=a", "pin-source", "tpm:path=b;pin-source=env:C", "tpm:path=a;pin-source=tpm:path=b%3Bpin-source=env:C"},
		{"tpm:path=a;pin-value=s3cret", "pin-source", "/p", "tpm:path=a;pin-value=s3cret"},
		{"tpm:pin-source=/p;path=a", "pin-source", "/q", "tpm:pin-source=/p;path=a"},
		{"exec:program=./a", "pin-source", "/p", "exec:program=./a;pin-source=/p"},
		{"exec:program=./a;pin-source=env:A", "pin-source", "/q", "exec:program=./a;pin-source=env:A"},
		{"tpm:path=a;parent-auth-source=/p", "pin-source", "/q", "tpm:path=a;parent-auth-source=/p;pin-source=/q"},
	} {
		got, err := New().SetAttribute(refOf(t, test.ref), test.name, test.value)
		if err != nil || got != refOf(t, test.want) {
			t.Errorf("%s, %s: got %#v, error %v, want %s", refOf(t, test.ref), test.name, got, err, refOf(t, test.want))
		}
	}
	for ref, names := range map[string][]string{
		"cert.pem":        {"newest", "module-path", "pin-source"},
		"env:X":           {"newest"},
		"-":               {"newest"},
		"pkcs11:token=a":  {"newest", "token", "pin-value", "path"},
		"tpm:path=a":      {"newest", "module-path", "pin-value", "path"},
		"exec:program=/a": {"newest", "program", "key", "pin-value"},
		"handle:81010002": {"pin-source", "newest"},
		"winstore:":       {"pin-source", "store", ""},
		"keychain:":       {"pin-source", "label", ""},
	} {
		for _, name := range names {
			got, err := New().SetAttribute(refOf(t, ref), name, "yes")
			if got != refOf(t, ref) || !errors.Is(err, errors.ErrUnsupported) || signer.Hint(err) == "" {
				t.Errorf("%s, %s: got %s, error %v", ref, name, got, err)
			}
		}
	}
}

// The error of Open shows that the backend reads the attribute that was set.
func TestSetAttributeIsUnderstood(t *testing.T) {
	for ref, set := range map[string][2]string{
		"pkcs11:object=a":  {"module-path", filepath.Join(t.TempDir(), "none;&% .so")},
		"tpm:path=key.pem": {"pin-source", "pass:s3cret"},
		"exec:program=./a": {"pin-source", "pass:s3cret"},
		"winstore:":        {"newest", "perhaps"},
		"keychain:":        {"newest", "perhaps"},
	} {
		got, err := New().SetAttribute(refOf(t, ref), set[0], set[1])
		if err != nil {
			t.Fatal(err)
		}
		_, err = New().Open(t.Context(), got, keystore.Options{})
		var refErr *keystore.RefError
		switch {
		case errors.As(err, &refErr) && strings.Contains(err.Error(), set[0]):
		case got.Scheme == "pkcs11" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, signer.ErrUnavailable)):
		default:
			t.Errorf("%s: %v", got, err)
		}
	}
}

func TestRebase(t *testing.T) {
	dir, err := filepath.Abs("etc")
	if err != nil {
		t.Fatal(err)
	}
	abs := filepath.Join(filepath.Dir(dir), "k.pem")
	sep := string(filepath.Separator)
	for text, want := range map[string]string{
		"-": "-", "env:X": "env:X", abs: abs, "k.pem": filepath.Join(dir, "k.pem"),
		"file:k.pem": filepath.Join(dir, "k.pem"), "../k.pem": abs, "pkcs11:token=x": "pkcs11:token=x",
		"tpm:path=k.pem":                                             "tpm:path=" + dir + sep + "k.pem",
		"tpm:path=" + abs:                                            "tpm:path=" + abs,
		"tpm:path=a%3Bb.pem;pcrs=sha256:7":                           "tpm:path=" + dir + sep + "a%3Bb.pem;pcrs=sha256:7",
		"tpm:handle=0x81010001;device=/dev/tpm0":                     "tpm:handle=0x81010001;device=/dev/tpm0",
		"handle:0x81010001":                                          "handle:0x81010001",
		"exec:program=./k;key=./n;pin-source=pin":                    "exec:program=" + dir + sep + "k;key=./n;pin-source=" + dir + sep + "pin",
		"exec:program=k;key=n":                                       "exec:program=k;key=n",
		"tpm:path=k;pin-source=pin":                                  "tpm:path=" + dir + sep + "k;pin-source=" + dir + sep + "pin",
		"tpm:path=k;parent-auth-source=file:a%20b":                   "tpm:path=" + dir + sep + "k;parent-auth-source=" + dir + sep + "a%20b",
		"tpm:path=k;pin-source=env:PIN":                              "tpm:path=" + dir + sep + "k;pin-source=env:PIN",
		"pkcs11:token=x?pin-source=file:pin":                         "pkcs11:token=x?pin-source=" + dir + sep + "pin",
		"pkcs11:token=x?pin-source=" + abs:                           "pkcs11:token=x?pin-source=" + abs,
		"pkcs11:token=x?pin-source=pin&module-path=/m.so":            "pkcs11:token=x?pin-source=" + dir + sep + "pin&module-path=/m.so",
		"pkcs11:object=pin-source;token=x?module-path=m.so":          "pkcs11:object=pin-source;token=x?module-path=m.so",
		"pkcs11:token=x?pin-source=tpm:path=s.pem":                   "pkcs11:token=x?pin-source=tpm:path=" + dir + sep + "s.pem",
		"pkcs11:token=x?pin-source=tpm:path=s%3Bpin-source=file:pin": "pkcs11:token=x?pin-source=tpm:path=" + dir + sep + "s%3Bpin-source=" + dir + sep + "pin",
		"pkcs11:token=x?pin-value=a&pin-source=env:A":                "pkcs11:token=x?pin-value=a&pin-source=env:A",
		"sshagent:comment=x;socket=agent;public=" + abs:              "sshagent:comment=x;socket=" + dir + sep + "agent;public=" + abs,
		"pkcs11:token=x?pin-source=%zz&a=%":                          "pkcs11:token=x?pin-source=%zz&a=%",
		"./a:b;pin-value=s3cret":                                     filepath.Join(dir, "a:b;pin-value=s3cret"),
	} {
		if got := New().Rebase(refOf(t, text), dir); got != refOf(t, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// addSeeds adds references to the seed corpus of a fuzz test.
func addSeeds(f *testing.F) {
	for text := range uses {
		f.Add(text, "pin-source", "env:X")
		f.Add(text, "newest", "yes")
	}
	for _, text := range []string{
		"", ":", "a:", "pkcs11:?", "pkcs11:??&&", "pkcs11:?pin-source=%", "tpm:path=%00;path=%", "tpm:;;;=;=", "env:A;x-source=env:B",
		"pkcs11:?a-source=pkcs11:?a-source=pkcs11:?a-source=env:X", "winstore:newest", "keychain:=yes", "file:%2e%2e/%00", "handle:",
	} {
		f.Add(text, "module-path", "/m&n;o%p\x00\n")
	}
}

func FuzzUses(f *testing.F) {
	addSeeds(f)
	store := New()
	f.Fuzz(func(t *testing.T, text, _, _ string) {
		const pin = "s3cr3t-pin"
		for _, text := range []string{text, text + "?pin-value=" + pin, text + ";pin-value=" + pin} {
			ref, err := keystore.ParseRef(text)
			if err != nil {
				continue
			}
			u := store.Uses(ref)
			for _, source := range u.PINSources {
				if again, err := keystore.ParseRef(source.String()); err != nil || again != source && !strings.HasSuffix(source.String(), "…") {
					t.Errorf("%q: PIN source %#v, error %v", text, source, err)
				}
				if strings.Contains(source.String(), pin) {
					t.Errorf("%q: PIN source %s", text, source)
				}
				if _, err := store.PINSource(source, keystore.Options{}); err != nil {
					t.Errorf("%q: PIN source: %v", text, err)
				}
			}
			if slices.Contains(u.Files, "") || slices.Contains(u.Variables, "") {
				t.Errorf("%q: %+v", text, u)
			}
		}
	})
}

func FuzzSetAttribute(f *testing.F) {
	addSeeds(f)
	store := New()
	f.Fuzz(func(t *testing.T, text, name, value string) {
		const pin = "s3cr3t-pin"
		for _, text := range []string{text, text + "?pin-value=" + pin, text + ";pin-value=" + pin} {
			ref, err := keystore.ParseRef(text)
			if err != nil || strings.Contains(name, pin) {
				continue
			}
			set, err := store.SetAttribute(ref, name, value)
			if strings.Contains(set.String(), pin) || err != nil && strings.Contains(err.Error()+signer.Hint(err), pin) {
				t.Errorf("%q: got %s, error %v", text, set, err)
			}
			if err != nil || set == ref {
				if set != ref {
					t.Errorf("%q: got %#v together with the error %v", text, set, err)
				}
				continue
			}
			if again, err := keystore.ParseRef(set.Scheme + ":" + set.Rest); err != nil || again != set {
				t.Errorf("%q: %s=%q results in %#v, which parses to %#v, error %v", text, name, value, set, again, err)
			}
			if !strings.HasPrefix(set.Rest, ref.Rest) {
				t.Errorf("%q: %s=%q results in %#v", text, name, value, set)
			}
			if again, err := store.SetAttribute(set, name, value+"x"); err != nil || again != set {
				t.Errorf("%q: %s=%q twice results in %#v, error %v", text, name, value, again, err)
			}
		}
	})
}
