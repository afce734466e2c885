//go:build unix

package emulator

import (
	"os"
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

// A pipe can take the name of a file after it was checked.
func TestReadRegularRefusesPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := readRegular(f, maxFile); err == nil {
		t.Error("no error")
	}
}
