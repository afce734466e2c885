//go:build unix

package program_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore/program"
)

// TestCommand: a shell that runs the command of an error sends the request as Holdfast
// does, whatever the text of the key is. Some shells have an echo that changes \.
func TestCommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "it's a signer")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nIFS= read -r line\nprintf '%s\\n' \"$line\" >\"$0.in\"\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"app", `C:\new\x\c`, `it's 100%s "of" it`, "-n", "two\nlines"} {
		_, err := program.Open(t.Context(), program.Config{Path: path, Key: key, Env: os.Environ()})
		var explained interface{ Command() string }
		if !errors.As(err, &explained) {
			t.Fatalf("%q: %v", key, err)
		}
		want := received(t, path)
		if out, err := exec.Command("/bin/sh", "-c", explained.Command()).CombinedOutput(); err == nil {
			t.Errorf("%q: the program has succeeded: %s", key, out)
		}
		if got := received(t, path); !bytes.Equal(got, want) {
			t.Errorf("%q: the shell sends %q, want %q", key, got, want)
		}
	}
}

// received returns what the program has read, and removes it.
func received(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path + ".in")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path + ".in"); err != nil {
		t.Fatal(err)
	}
	return data
}
