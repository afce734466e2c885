package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A release replaces an older one and an empty folder, and nothing else.
func TestReplaceable(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		ok    bool
	}{
		{"empty", nil, true},
		{"older release", []string{checksums, "holdfast_0.1.0_amd64.deb"}, true},
		{"other files", []string{"thesis.txt"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range c.files {
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := replaceable(dir); (err == nil) != c.ok {
				t.Errorf("%v, want success: %v", err, c.ok)
			}
		})
	}
	if err := replaceable(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("a folder that does not exist: %v", err)
	}
}
