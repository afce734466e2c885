package ecp

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHidden: other processes of the user cannot read the memory, which has a key or a PIN.
func TestHidden(t *testing.T) {
	dumpable := func() int {
		t.Helper()
		n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if dumpable() != 1 {
		t.Fatal("the memory is hidden before the test")
	}
	dir := t.TempDir()
	writeKey(t, dir, "p256", "p256")
	config := filepath.Join(dir, "config.json")
	writeFile(t, config, []byte(`{"cert_configs": {"holdfast": {"certificate": "p256.crt", "private_key": "p256.key"}}}`))
	if code, _, stderr := run(t, config); code != 0 || dumpable() != 0 {
		t.Errorf("code %d, dumpable %d: %s", code, dumpable(), stderr)
	}
}
