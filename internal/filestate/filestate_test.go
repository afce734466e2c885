package filestate

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestEqual(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	last := Of(path)
	for _, step := range []struct {
		name    string
		do      func() error
		changed bool
	}{
		{"nothing", func() error { return nil }, false},
		{"made", func() error { return os.WriteFile(path, []byte("a"), 0o600) }, true},
		{"read", func() error { _, err := os.ReadFile(path); return err }, false},
		{"longer", func() error { return os.WriteFile(path, []byte("ab"), 0o600) }, true},
		{"touched", func() error { return os.Chtimes(path, time.Time{}, time.Unix(1e9, 0)) }, true},
		{"replaced", func() error { // by a file of the same size and time
			other := path + ".new"
			return errors.Join(os.WriteFile(other, []byte("cd"), 0o600), os.Chtimes(other, time.Time{}, time.Unix(1e9, 0)), os.Rename(other, path))
		}, true},
		{"removed", func() error { return os.Remove(path) }, true},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		now := Of(path)
		if now.Equal(last) == step.changed {
			t.Errorf("%s: changed %t", step.name, !step.changed)
		}
		last = now
	}
}

// Equal compares every file and the number of files.
func TestEqualOfSeveral(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	before := Of(a, b)
	if !before.Equal(Of(a, b)) || !(State{}).Equal(Of()) {
		t.Error("unchanged states are not equal")
	}
	if before.Equal(Of(a)) || before.Equal(State{}) {
		t.Error("states of different numbers of files are equal")
	}
	if err := os.WriteFile(b, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if before.Equal(Of(a, b)) {
		t.Error("a change of the second file is not detected")
	}
}
