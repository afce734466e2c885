//go:build linux

package pkcs11

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A user who may not read SoftHSM's files is told which these are.
func TestSoftHSMHint(t *testing.T) {
	dir := t.TempDir()
	closed := filepath.Join(dir, "tokens")
	config := filepath.Join(dir, "softhsm2.conf")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(config, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(closed, 0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Dir(dir), dir} { // for the user that root becomes
		if err := os.Chmod(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("SOFTHSM2_CONF", config)
	for _, test := range []struct {
		name, text string
		mode       os.FileMode
		culprit    string // "": there is nothing to say
	}{
		{"a folder that may not be read", "log.level = ERROR\ndirectories.tokendir = " + closed + "\n", 0o644, closed},
		{"a configuration that may not be read", "", 0, config},
		{"a folder that may be read", "directories.tokendir = " + dir + "\n", 0o644, ""},
		{"a folder that is not there", "directories.tokendir = " + dir + "/none\n", 0o644, ""},
	} {
		write(test.text, test.mode)
		hint := asUser(t, softHSMHint)
		if test.culprit == "" && hint != "" || !strings.Contains(hint, test.culprit) {
			t.Errorf("%s: hint %q", test.name, hint)
		}
		if test.culprit != "" && (!strings.Contains(hint, "SOFTHSM2_CONF") || !strings.Contains(hint, "group softhsm")) {
			t.Errorf("%s: hint %q names no way out", test.name, hint)
		}
	}
}

// asUser calls f as a user who is not root.
func asUser(t *testing.T, f func() string) string {
	if os.Getuid() != 0 {
		return f()
	}
	result := make(chan string)
	go func() {
		runtime.LockOSThread() // the thread ends with this goroutine
		if err := unix.Setfsuid(65534); err != nil {
			t.Error(err)
		}
		result <- f()
	}()
	return <-result
}
