//go:build linux

package daemon

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
)

func TestAuthToken(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	env := map[string]string{"XDG_RUNTIME_DIR": dir}
	lookup := func(name string) string { return env[name] }
	mode := func(path string) os.FileMode {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}

	// In the runtime folder, replacing a stale file.
	stale := filepath.Join(dir, "holdfast", "serve-1.token")
	if err := errors.Join(os.Mkdir(filepath.Dir(stale), 0o755), os.WriteFile(stale, []byte("stale"), 0o644)); err != nil {
		t.Fatal(err)
	}
	made, err := newAuthToken(lookup, "", "1", log)
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
	made, err = newAuthToken(lookup, "", "1", log)
	if err != nil {
		t.Fatal(err)
	}
	next, err := newAuthToken(lookup, "", "1", log)
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
	one, err := newAuthToken(lookup, path, "1", log)
	if err != nil || one.path != path || mode(path) != 0o600 {
		t.Fatalf("%+v, %v", one, err)
	}
	other, err := newAuthToken(func(string) string { return "" }, "", "1", log)
	if err != nil || mode(filepath.Dir(other.path)) != 0o700 || other.Value() == one.Value() {
		t.Fatalf("%+v, %v", other, err)
	}
	one.Close()
	other.Close()
	for _, gone := range []string{path, filepath.Dir(other.path)} {
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
	existing, err := newAuthToken(lookup, path, "1", log)
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
		if _, err := newAuthToken(lookup, path, "1", log); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if _, err := newAuthToken(lookup, filepath.Join(dir, "no", "token"), "1", log); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	if _, err := newAuthToken(lookup, dir, "1", log); err == nil {
		t.Error("a folder was accepted")
	}
}
