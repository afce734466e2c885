package pkcs11

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The modules are those that p11-kit's proxy loads.
func TestP11kitModules(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string // below system, admin, package, user or lib
		want  string            // names of modules
	}{
		{"none", nil, ""},
		{"absolute path", map[string]string{"package/a.module": "module: {dir}/lib/a.so\n", "lib/a.so": ""}, "a.so"},
		{"name", map[string]string{"package/a.module": "# comment\n module : a.so \n", "lib/a.so": ""}, "a.so"},
		{"no such file", map[string]string{"package/a.module": "module: a.so\n"}, ""},
		{"no module", map[string]string{"package/a.module": "priority: 1\n"}, ""},
		{"other file", map[string]string{"package/a.conf": "module: a.so\n", "lib/a.so": ""}, ""},
		{"disabled", map[string]string{"package/a.module": "module: a.so\ndisable-in: p11-kit-proxy\n", "lib/a.so": ""}, ""},
		{"disabled here", map[string]string{"package/a.module": "module: a.so\ndisable-in: ssh, holdfast\n", "lib/a.so": ""}, ""},
		{"disabled elsewhere", map[string]string{"package/a.module": "module: a.so\ndisable-in: ssh\n", "lib/a.so": ""}, "a.so"},
		{"enabled elsewhere", map[string]string{"package/a.module": "module: a.so\nenable-in: ssh\n", "lib/a.so": ""}, ""},
		{"enabled here", map[string]string{"package/a.module": "module: a.so\nenable-in: ssh holdfast\n", "lib/a.so": ""}, "a.so"},
		{"remote", map[string]string{"package/a.module": "module: a.so\nremote: |ssh host\n", "lib/a.so": ""}, ""},
		{"administrator disables", map[string]string{"package/a.module": "module: a.so\n", "admin/a.module": "disable-in: holdfast\n", "lib/a.so": ""}, ""},
		{"administrator replaces", map[string]string{"package/a.module": "module: a.so\n", "admin/a.module": "module: b.so\n", "lib/a.so": "", "lib/b.so": ""}, "b.so"},
		{"user adds", map[string]string{"package/a.module": "module: a.so\n", "user/modules/b.module": "module: b.so\n", "lib/a.so": "", "lib/b.so": ""}, "a.so b.so"},
		{"user is ignored", map[string]string{"package/a.module": "module: a.so\n", "system": "user-config: none\n", "user/modules/b.module": "module: b.so\n", "lib/a.so": "", "lib/b.so": ""}, "a.so"},
		{"user alone", map[string]string{"package/a.module": "module: a.so\n", "system": "user-config: only\n", "user/modules/b.module": "module: b.so\n", "lib/a.so": "", "lib/b.so": ""}, "b.so"},
		{"user chooses", map[string]string{"package/a.module": "module: a.so\n", "user/pkcs11.conf": "user-config: only\n", "user/modules/b.module": "module: b.so\n", "lib/a.so": "", "lib/b.so": ""}, "b.so"},
	} {
		dir := t.TempDir()
		for _, name := range slices.Sorted(maps.Keys(test.files)) {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(test.files[name], "{dir}", dir)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		k := p11kit{system: filepath.Join(dir, "system"), user: filepath.Join(dir, "user"), program: "holdfast",
			folders: []string{filepath.Join(dir, "admin"), filepath.Join(dir, "package")}, modules: []string{filepath.Join(dir, "lib")}}
		found, err := k.enabled(URI{})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		var names []string
		for _, m := range found {
			names = append(names, filepath.Base(m.Path))
			if u, err := ParseURI(m.Ref.String()); err != nil || u.ModulePath != m.Path || m.From == "" {
				t.Errorf("%s: %+v, %v", test.name, m, err)
			}
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
