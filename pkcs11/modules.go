package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// loaded contains the modules that this process has initialized, by path. It is
// the only package variable that changes: C_Initialize and C_Finalize affect
// the whole process (PKCS #11 v3.1, section 5.4), so a module needs one owner.
var loaded = modules{load: load, isolate: isolate}

type modules struct {
	mu      sync.Mutex
	load    func(path string) (module, error) // in this process
	isolate func(path, program string, env []string, begun func(abandoner), failed func()) (module, error)
	byPath  map[string]*sharedModule // nil: none yet

	endedHelpers atomic.Int64 // see [keystore.Isolator]

	tallies tallies
}

// A sharedModule is finalized when its last user releases it.
type sharedModule struct {
	module
	path  string
	name  string      // in owner.byPath
	file  os.FileInfo // of path; nil: unknown
	card  *lock       // held while a card signs or the tokens are enumerated
	users int         // guarded by owner.mu
	owner *modules

	loading abandoner // while module is nil; guarded by owner.mu

	keys map[*Key]struct{} // that are open; guarded by owner.mu

	initMu sync.Mutex // held while module is initialized or finalized, which may never end
}

// open returns the module at path in this process. The caller releases it.
func (m *modules) open(path string) (*sharedModule, error) {
	return m.openAs("", path, func(s *sharedModule) (module, error) { return m.load(s.path) })
}

// isolatedKind is before the path in the name of a module in a helper process.
const isolatedKind = "isolated "

// isIsolated reports whether s is in a helper process.
func (s *sharedModule) isIsolated() bool { return strings.HasPrefix(s.name, isolatedKind) }

// openIsolated returns the module at path in a helper process. The caller releases it.
func (m *modules) openIsolated(path, program string, env []string) (*sharedModule, error) {
	return m.openAs(isolatedKind, path, func(s *sharedModule) (module, error) {
		return m.isolate(s.path, program, env, func(a abandoner) {
			m.mu.Lock()
			defer m.mu.Unlock()
			s.loading = a
		}, func() { m.endedHelpers.Add(1) })
	})
}

func (m *modules) openAs(kind, path string, load func(*sharedModule) (module, error)) (*sharedModule, error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // a library with two names is one module
	}
	file, _ := os.Stat(path) // nil on error, which load reports
	name := kind + path
	m.mu.Lock()
	s := m.known(kind, name, file)
	if s == nil {
		s = &sharedModule{path: path, name: name, file: file, owner: m, card: newLock(), keys: make(map[*Key]struct{})}
		if m.byPath == nil {
			m.byPath = make(map[string]*sharedModule)
		}
		m.byPath[name] = s
	}
	s.users++
	m.mu.Unlock()
	s.initMu.Lock()
	defer s.initMu.Unlock()
	if s.module != nil {
		return s, nil
	}
	mod, err := load(s)
	m.mu.Lock()
	defer m.mu.Unlock()
	s.loading = nil
	if err != nil {
		s.users--
		s.forget()
		return nil, err
	}
	s.module = mod
	return s, nil
}

// known returns the module with the name, or one of the same kind whose file has also
// the path in name: the dynamic linker loads it only once. The caller holds m.mu.
func (m *modules) known(kind, name string, file os.FileInfo) *sharedModule {
	if s := m.byPath[name]; s != nil {
		return s
	}
	for _, s := range m.byPath {
		if file != nil && s.file != nil && s.name == kind+s.path && os.SameFile(file, s.file) {
			return s
		}
	}
	return nil
}

// leave ends one use of s and reports whether it was the last one. s then stays
// in the table until forget, so that nobody initializes the module before it is
// finalized.
func (s *sharedModule) leave() (last bool) {
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	s.users--
	s.forget()
	return s.users == 0
}

// forget removes s from the table if it has neither users nor an initialized
// module. The caller holds s.owner.mu.
func (s *sharedModule) forget() {
	if s.users == 0 && s.module == nil {
		delete(s.owner.byPath, s.name)
	}
}

// release ends one use of s. The last one finalizes the module, for which it
// waits at most closeTimeout.
func (s *sharedModule) release() error {
	if !s.leave() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_, err := inTime(ctx, awaited{func() string { return "module " + s.path }, s.abandon, s.isIsolated}, func() (struct{}, error) { return struct{}{}, s.finalizeUnused() }, nil)
	return err
}

// finalizeUnused finalizes the module unless it has users again.
func (s *sharedModule) finalizeUnused() error {
	s.initMu.Lock()
	defer s.initMu.Unlock()
	s.owner.mu.Lock()
	users := s.users
	s.owner.mu.Unlock()
	if users > 0 || s.module == nil { // another user came, or has already finalized it
		return nil
	}
	err := s.finalize()
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	s.module = nil
	s.forget()
	return err
}

// An abandoner is a module that can end a call that does not return, after nobody waits
// for it any more.
type abandoner interface{ abandon(abandoned) }

// abandon reports that nobody waits for work with the module.
func (s *sharedModule) abandon(work abandoned) {
	s.owner.mu.Lock()
	a := s.loading
	if s.module != nil {
		a, _ = s.module.(abandoner)
	}
	s.owner.mu.Unlock()
	if a != nil {
		a.abandon(work)
	}
}

// abandon reports that nobody waits for work with the module that c names.
func (m *modules) abandon(c Config, work abandoned) {
	path, err := c.modulePath()
	if err != nil {
		return
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	file, _ := os.Stat(path)
	m.mu.Lock()
	var all []*sharedModule
	for _, kind := range []string{"", isolatedKind} {
		if s := m.known(kind, kind+path, file); s != nil {
			all = append(all, s)
		}
	}
	m.mu.Unlock()
	for _, s := range all {
		s.abandon(work)
	}
}

// add records that k is open.
func (s *sharedModule) add(k *Key) {
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	s.keys[k] = struct{}{}
}

// remove records that k is closed.
func (s *sharedModule) remove(k *Key) {
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	delete(s.keys, k)
}

// maxNamed bounds how many open keys a hint names.
const maxNamed = 3

// explain tells with the error of an operation that keys are open: many modules read
// their configuration and look for tokens only in C_Initialize, which is not called
// again before these keys are closed.
func (s *sharedModule) explain(err error) error {
	s.owner.mu.Lock()
	var names []string
	for k := range s.keys {
		names = append(names, k.auth.ref.String())
	}
	s.owner.mu.Unlock()
	ofHelper := errors.As(err, new(*endedError)) || errors.As(err, new(*helperError)) // the next one looks anew
	if len(names) == 0 || ofHelper || !errors.Is(err, signer.ErrUnavailable) {
		return err
	}
	slices.Sort(names)
	if n := len(names) - maxNamed; n > 0 {
		names = append(names[:maxNamed], fmt.Sprintf("%d more", n))
	}
	hint := "keys of this process keep the module initialized: " + strings.Join(names, ", ") +
		"; if its tokens or its configuration have changed since they were opened, close them first, because many modules look only when they are initialized"
	if before := signer.Hint(err); before != "" {
		hint = before + "; " + hint
	}
	return signer.WithHint(err, hint)
}

// proxyPaths lists, by operating system, where p11-kit installs its proxy
// module. The proxy provides the slots of all modules that are configured on
// the system.
var proxyPaths = lookup.Table[string, []string]{
	{"linux", []string{
		"/usr/lib/*-linux-gnu*/p11-kit-proxy.so", // Debian, Ubuntu
		"/usr/lib64/p11-kit-proxy.so",            // Fedora, RHEL, SUSE
		"/usr/lib/p11-kit-proxy.so",              // Arch, Alpine
		"/usr/local/lib/p11-kit-proxy.so",
		"/run/current-system/sw/lib/p11-kit-proxy.so", // NixOS
		"/home/linuxbrew/.linuxbrew/lib/p11-kit-proxy.so",
	}},
	{"darwin", []string{
		"/opt/homebrew/lib/p11-kit-proxy.dylib", // ARM
		"/usr/local/lib/p11-kit-proxy.dylib",    // Intel
		"/opt/local/lib/p11-kit-proxy.dylib",    // MacPorts
	}},
	{"freebsd", []string{"/usr/local/lib/p11-kit-proxy.so"}},
	{"windows", []string{`C:\Program Files\p11-kit\bin\p11-kit-proxy.dll`}},
}

// moduleDirs lists, by operating system, where a module-name is searched for.
var moduleDirs = lookup.Table[string, []string]{
	{"linux", []string{"/usr/lib/*-linux-gnu*/pkcs11", "/usr/lib64/pkcs11", "/usr/lib/pkcs11", "/usr/local/lib/pkcs11",
		"/usr/lib/*-linux-gnu*", "/usr/lib64", "/usr/lib", "/usr/local/lib", "/usr/lib/softhsm", "/usr/lib/*-linux-gnu*/softhsm", "/usr/lib64/softhsm"}},
	{"darwin", []string{"/opt/homebrew/lib", "/opt/homebrew/lib/pkcs11", "/usr/local/lib", "/usr/local/lib/pkcs11", "/Library/OpenSC/lib"}},
	{"freebsd", []string{"/usr/local/lib", "/usr/local/lib/pkcs11"}},
	{"windows", []string{`C:\Program Files\*\bin`, `C:\Windows\System32`}},
}

var moduleSuffix = lookup.Table[string, string]{{"darwin", ".dylib"}, {"windows", ".dll"}}

// modulePath returns the path of the module that u names by module-path or by
// module-name (RFC 7512, section 2.3: without "lib" and suffix). The default is
// p11-kit's proxy.
func modulePath(u URI) (string, error) {
	switch {
	case u.ModulePath != "":
		return checkModule(u.ModulePath)
	case u.ModuleName != "":
		suffix := moduleSuffix.Get(runtime.GOOS)
		if suffix == "" {
			suffix = ".so"
		}
		var patterns []string
		for _, dir := range moduleDirs.Get(runtime.GOOS) {
			for _, prefix := range []string{"lib", ""} {
				patterns = append(patterns, filepath.Join(dir, prefix+u.ModuleName+suffix))
			}
		}
		return firstModule(fmt.Sprintf("PKCS #11 module %s not found", u.ModuleName), patterns,
			"give the path of its file: ?module-path=… in the reference, or Config.Module")
	}
	return firstModule("p11-kit-proxy not found", proxyPaths.Get(runtime.GOOS),
		"install p11-kit, or give the path of the token's own module: ?module-path=… in the reference, or Config.Module")
}

// namesModule reports whether c names a module, so that p11-kit's proxy is not used.
func (c Config) namesModule() bool {
	return c.Module != "" || c.URI.ModulePath != "" || c.URI.ModuleName != ""
}

// modulePath returns the path of the module of c.
func (c Config) modulePath() (string, error) {
	u := c.URI
	if c.Module != "" {
		u.ModulePath = c.Module
	}
	return modulePath(u)
}

func firstModule(what string, patterns []string, hint string) (string, error) {
	for _, p := range patterns {
		if found, _ := filepath.Glob(p); len(found) > 0 {
			return found[0], nil
		}
	}
	return "", signer.WithHint(fmt.Errorf("%s (searched %s): %w", what, strings.Join(patterns, ", "), signer.ErrUnavailable), hint)
}

const moduleHint = "give the path of the module's shared library, built for this operating system and processor; check it with pkcs11-tool -L --module PATH"

// checkModule reports faults of a module's path more clearly than the dynamic
// linker does.
func checkModule(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", signer.WithHint(&keystore.RefError{Ref: path, Err: errors.New("is not an absolute path")},
			"give the absolute path of the module; a relative path would load code from the current folder")
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("module: %w", err)
	case !info.Mode().IsRegular():
		return "", signer.WithHint(fmt.Errorf("module %s: is not a regular file", path), moduleHint)
	}
	return path, nil
}
