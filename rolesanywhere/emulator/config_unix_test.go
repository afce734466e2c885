//go:build unix

package emulator

import (
	"path/filepath"
	"syscall"
	"testing"
)

// Opening a pipe would wait for a writer.
func TestLoadConfigRefusesPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadConfig(path); err == nil {
		t.Error("no error")
	}
}
