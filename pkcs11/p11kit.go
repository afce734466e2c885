package pkcs11

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/keystore"
)

// A p11kit is the configuration of p11-kit, which says what modules its proxy
// loads.
//
// Source: pkcs11.conf(5) of p11-kit 0.25, and modules.c and conf.c.
type p11kit struct {
	system  string   // the configuration file of the system
	user    string   // the folder with the configuration of the user; "": ignored
	folders []string // with modules of the system, the first one has precedence
	modules []string // patterns of folders with modules that are named without a folder
	program string   // for enable-in and disable-in
}

func newP11kit() p11kit {
	k := p11kit{
		system:  "/etc/pkcs11/pkcs11.conf",
		folders: []string{"/etc/pkcs11/modules", "/usr/share/p11-kit/modules"},
		modules: []string{"/usr/lib/*-linux-gnu*/pkcs11", "/usr/lib64/pkcs11", "/usr/lib/pkcs11", "/usr/local/lib/pkcs11"},
	}
	if home, err := os.UserHomeDir(); err == nil && os.Getuid() != 0 { // root has no configuration of its own
		k.user = filepath.Join(cmp.Or(os.Getenv("XDG_CONFIG_HOME"), filepath.Join(home, ".config")), "pkcs11")
	}
	if exe, err := os.Executable(); err == nil {
		k.program = filepath.Base(exe)
	}
	return k
}

// Modules implements [keystore.ModuleLister]. If ref names no module, they are
// those that p11-kit's proxy loads.
func (Backend) Modules(ref keystore.Ref) ([]keystore.Module, error) {
	u, err := parseURI(ref.Rest)
	if err != nil {
		return nil, &keystore.RefError{Ref: ref.String(), Err: err}
	}
	path, err := modulePath(u)
	if err != nil {
		return nil, err
	}
	if u.ModulePath != "" || u.ModuleName != "" {
		return []keystore.Module{moduleAt(path, "", u)}, nil
	}
	return newP11kit().enabled(u)
}

// moduleAt returns the module at path, to be loaded where that of u is.
func moduleAt(path, from string, u URI) keystore.Module {
	return keystore.Module{Path: path, From: from, Ref: URI{ModulePath: path, Isolation: u.Isolation}.ref()}
}

// enabled returns the modules that the proxy loads for u, in the order of their names.
// It leaves out remote modules, which run in processes of their own, and modules
// without a file, which p11-kit skips unless they are critical.
func (k p11kit) enabled(u URI) ([]keystore.Module, error) {
	folders := k.folders
	if k.user != "" {
		mode := parseP11kit(k.system)["user-config"]
		own := filepath.Join(k.user, "modules")
		if mode != "none" && mode != "only" { // the user's file can narrow it down
			mode = cmp.Or(parseP11kit(filepath.Join(k.user, "pkcs11.conf"))["user-config"], "merge")
		}
		switch mode {
		case "only":
			folders = []string{own}
		case "merge":
			folders = append([]string{own}, folders...)
		}
	}
	configs := make(map[string]map[string]string) // by the name of the file
	from := make(map[string]string)
	for _, folder := range folders {
		files, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, f := range files {
			if filepath.Ext(f.Name()) != ".module" {
				continue
			}
			if configs[f.Name()] == nil {
				configs[f.Name()], from[f.Name()] = make(map[string]string), filepath.Join(folder, f.Name())
			}
			for key, value := range parseP11kit(filepath.Join(folder, f.Name())) {
				if _, set := configs[f.Name()][key]; !set {
					configs[f.Name()][key] = value
				}
			}
		}
	}
	var found []keystore.Module
	for name, c := range configs {
		if path := k.path(c["module"]); path != "" && c["remote"] == "" && k.loads(c) {
			found = append(found, moduleAt(path, from[name], u))
		}
	}
	slices.SortFunc(found, func(a, b keystore.Module) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Path, b.Path))
	})
	return found, nil
}

// loads reports whether the proxy in this program loads a module with the
// configuration c.
func (k p11kit) loads(c map[string]string) bool {
	in := func(key string) bool {
		return slices.ContainsFunc(strings.FieldsFunc(c[key], func(r rune) bool { return strings.ContainsRune(" ,\t", r) }), func(name string) bool {
			return name == k.program || name == "p11-kit-proxy"
		})
	}
	if c["enable-in"] != "" {
		return in("enable-in")
	}
	return !in("disable-in")
}

// path returns the file of a module, or "" if there is none.
func (k p11kit) path(module string) string {
	patterns := []string{module}
	if !filepath.IsAbs(module) {
		patterns = nil
		for _, folder := range k.modules {
			patterns = append(patterns, filepath.Join(folder, module))
		}
	}
	for _, p := range patterns {
		if found, _ := filepath.Glob(p); module != "" && len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

// parseP11kit returns the settings of a file of p11-kit. A file that cannot be
// read has none, as for p11-kit.
func parseP11kit(path string) map[string]string {
	settings := make(map[string]string)
	data, err := keystore.ReadFile(path, keystore.MaxInput)
	if err != nil {
		return settings
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if key, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") {
			settings[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return settings
}
