//go:build linux

package daemon

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/internal/filestate"
	"github.com/holdfast-dev/holdfast/signer"
)

func TestAuthToken(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	env := map[string]string{"XDG_RUNTIME_DIR": dir}
	lookup := func(name string) string { return env[name] }
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	t.Setenv("TMPDIR", t.TempDir())
	mode := func(path string) os.FileMode {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}

	// In the runtime folder, replacing a stale file.
	stale := filepath.Join(dir, "holdfast", "serve-127.0.0.1-1.token")
	if err := errors.Join(os.Mkdir(filepath.Dir(stale), 0o755), os.WriteFile(stale, []byte("stale"), 0o644)); err != nil {
		t.Fatal(err)
	}
	made, err := newAuthToken(lookup, "", addr, log)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(made.path)
	if err != nil || made.path != stale || string(text) != made.Value() || len(text) < 26 || bytes.ContainsAny(text, "\r\n ") {
		t.Errorf("%s: %q, %v", made.path, text, err)
	}
	if m, d := mode(made.path), mode(filepath.Dir(made.path)); m != 0o600 || d != 0o700 {
		t.Errorf("modes %o and %o", m, d)
	}
	made.Close()
	if left, _ := filepath.Glob(filepath.Join(dir, "holdfast", "*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}

	// Close does not remove the file of a successor.
	made, err = newAuthToken(lookup, "", addr, log)
	if err != nil {
		t.Fatal(err)
	}
	next, err := newAuthToken(lookup, "", addr, log)
	if err != nil {
		t.Fatal(err)
	}
	made.Close()
	if text, err := os.ReadFile(next.path); err != nil || string(text) != next.Value() {
		t.Errorf("the successor's: %q, %v", text, err)
	}
	next.Close()

	// At a path without a file, and in a new temporary folder.
	path := filepath.Join(dir, "token")
	one, err := newAuthToken(lookup, path, addr, log)
	if err != nil || one.path != path || mode(path) != 0o600 {
		t.Fatalf("%+v, %v", one, err)
	}
	other, err := newAuthToken(func(string) string { return "" }, "", addr, log)
	if err != nil || mode(filepath.Dir(other.path)) != 0o700 || other.Value() == one.Value() {
		t.Fatalf("%+v, %v", other, err)
	}
	one.Close()
	other.Close()
	for _, gone := range []string{path, other.path} {
		if _, err := os.Stat(gone); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}

	// An existing file is read again when it changes, and is not removed.
	write := func(text string) {
		t.Helper()
		if err := (atomicfile.File{Name: path}).Replace([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	existing, err := newAuthToken(lookup, path, addr, log)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ text, want string }{
		{"first", "first"}, {"second", "second"}, {"", "second"}, {"two\nlines", "second"}, {"third\r\n", "third"}, {strings.Repeat("x", 5<<10), "third"}, {"naïve", "third"},
	} {
		write(test.text)
		if got := existing.Value(); got != test.want {
			t.Errorf("after %.10q: %q, want %q", test.text, got, test.want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := existing.Value(); got != "third" {
		t.Errorf("without a file: %q", got)
	}
	write("fourth")
	existing.Close()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the existing file: %v", err)
	}
	for _, bad := range []string{"", "\n", "a b", "a\x00"} {
		write(bad)
		if _, err := newAuthToken(lookup, path, addr, log); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if _, err := newAuthToken(lookup, filepath.Join(dir, "no", "token"), addr, log); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	if _, err := newAuthToken(lookup, dir, addr, log); err == nil {
		t.Error("a folder was accepted")
	}
}

// A server that was killed leaves its token behind. Its successor on the same
// address uses that token, if nobody else could have read or written it.
func TestAuthTokenAfterKill(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	at := func(ip string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }
	start := func(env map[string]string, addr net.Addr) *authToken {
		t.Helper()
		token, err := newAuthToken(func(name string) string { return env[name] }, "", addr, log)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	for name, env := range map[string]map[string]string{
		"runtime folder":        {"XDG_RUNTIME_DIR": t.TempDir()},
		"systemd":               {"RUNTIME_DIRECTORY": t.TempDir()},
		"no runtime folder":     {},
		"runtime folder is not": {"XDG_RUNTIME_DIR": filepath.Join(tmp, "none")},
	} {
		t.Run(name, func(t *testing.T) {
			killed, other := start(env, at("127.0.0.1", 9911)), start(env, at("127.0.0.2", 9911))
			v6 := start(env, at("::1", 9911))
			next := start(env, at("127.0.0.1", 9911))
			if next.path != killed.path || next.Value() != killed.Value() {
				t.Errorf("token %s at %s after %s at %s", next.Value(), next.path, killed.Value(), killed.path)
			}
			if other.Value() == next.Value() || v6.Value() == next.Value() || other.path == next.path || v6.path == next.path {
				t.Errorf("servers of other addresses share %s", next.path)
			}
			killed.Close()
			if _, err := os.Stat(next.path); err != nil {
				t.Errorf("the predecessor removed the file: %v", err)
			}
			for _, token := range []*authToken{next, other, v6} {
				token.Close()
				if _, err := os.Stat(token.path); err == nil {
					t.Errorf("%s is still there", token.path)
				}
			}
		})
	}
	env := map[string]string{"XDG_RUNTIME_DIR": t.TempDir()}
	first := start(env, at("127.0.0.1", 9911))
	secret := first.Value()
	for name, spoil := range map[string]func(path string) error{
		"readable by the group": func(path string) error { return os.Chmod(path, 0o640) },
		"writable by others":    func(path string) error { return os.Chmod(path, 0o602) },
		"truncated":             func(path string) error { return os.WriteFile(path, []byte(secret[:20]), 0o600) },
		"empty":                 func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"not a token":           func(path string) error { return os.WriteFile(path, []byte(secret+" x"), 0o600) },
		"a link": func(path string) error {
			return errors.Join(os.Rename(path, path+".there"), os.Symlink(path+".there", path))
		},
	} {
		if err := (atomicfile.File{Name: first.path}).Replace([]byte(secret)); err != nil {
			t.Fatal(err)
		}
		if err := spoil(first.path); err != nil {
			t.Fatal(err)
		}
		next := start(env, at("127.0.0.1", 9911))
		text, err := os.ReadFile(next.path)
		if next.Value() == secret || err != nil || string(text) != next.Value() {
			t.Errorf("%s: token %s, in the file %q, %v", name, next.Value(), text, err)
		}
		if info, err := os.Lstat(next.path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
}

// Files that no process has touched for a day are removed, others stay.
func TestAuthTokenStale(t *testing.T) {
	dir := t.TempDir()
	env := func(name string) string { return map[string]string{"RUNTIME_DIRECTORY": dir}[name] }
	for name, age := range map[string]time.Duration{
		"serve-127.0.0.1-1.token": staleAfter + time.Hour, "serve-9911.token": staleAfter + time.Hour,
		"serve-127.0.0.1-2.token": staleAfter - time.Hour, "other.token": 2 * staleAfter, "serve-1.json": 2 * staleAfter,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	token, err := newAuthToken(env, "", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	files, err := os.ReadDir(dir)
	for _, f := range files {
		names = append(names, f.Name())
	}
	if want := []string{"other.token", "serve-1.json", "serve-127.0.0.1-2.token", "serve-127.0.0.1-3.token"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("files %q, %v; want %q", names, err, want)
	}

	// A file in use is touched, and written again if it was removed.
	if err := os.Chtimes(token.path, time.Time{}, time.Now().Add(-staleAfter)); err != nil {
		t.Fatal(err)
	}
	token.seen = filestate.Of(token.path)
	token.renew()
	if info, err := os.Stat(token.path); err != nil || time.Since(info.ModTime()) > time.Hour {
		t.Errorf("the file was not touched: %v, %v", info.ModTime(), err)
	}
	if err := os.Remove(token.path); err != nil {
		t.Fatal(err)
	}
	token.renew()
	if text, err := os.ReadFile(token.path); err != nil || string(text) != token.Value() {
		t.Errorf("the file was not written again: %q, %v", text, err)
	}
}

// An error says that it is about the token and how to move its file.
func TestAuthTokenNoPlace(t *testing.T) {
	tmp := t.TempDir()
	file := filepath.Join(tmp, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, env := range map[string][2]string{
		"no folder for temporary files": {"", filepath.Join(tmp, "none")},
		"a file as that folder":         {"", file},
		"no runtime folder":             {filepath.Join(tmp, "none"), ""},
	} {
		t.Setenv("TMPDIR", env[1])
		lookup := func(name string) string { return map[string]string{"RUNTIME_DIRECTORY": env[0]}[name] }
		_, err := newAuthToken(lookup, "", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), "token of the container endpoint") || !strings.Contains(signer.Hint(err), "--token-file FILE") {
			t.Errorf("%s: error %v, hint %q", name, err, signer.Hint(err))
		}
	}
}
