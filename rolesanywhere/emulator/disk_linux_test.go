package emulator

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// On a full disk a request fails, and nothing of it is kept. With space again, the
// emulator goes on. The test needs permission to mount a small tmpfs.
func TestFullDisk(t *testing.T) {
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=512k"); err != nil {
		signertest.Skip(t, "tmpfs", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	folder := filepath.Join(mount, "state")
	ca := newRoot(t, caTemplate("Root"))
	w, stop := newStateEnv(t, folder, ca)
	ballast := filepath.Join(mount, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	create := func(name string) controlResponse {
		return w.control(t, controlCall{operation: "CreateTrustAnchor", body: w.anchorInput("name", name)})
	}
	want := make(map[string]bool)
	failed := 0
	for i := 0; failed < 3; i++ { // the last page of the file has space for some
		name := fmt.Sprint("anchor ", i)
		switch got := create(name); {
		case got.status == http.StatusCreated && i < 1000:
			want[name] = true
		case got.status == http.StatusInternalServerError && got.message == "Internal error":
			failed++
		default:
			t.Fatalf("%s: %d %s", name, got.status, got.message)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if got := create("late"); got.status != http.StatusCreated {
		t.Errorf("with space again: %d %s", got.status, got.message)
	}
	want["late"] = true
	check := func(when string) {
		t.Helper()
		got := make(map[string]bool)
		for _, a := range w.must(t, "ListTrustAnchors", "", nil).list("trustAnchors") {
			got[a.string("name")] = true
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: trust anchors are %v, want %v", when, got, want)
		}
	}
	check("before the end")
	if b, err := os.ReadFile(filepath.Join(folder, stateFile)); err != nil || !bytes.HasSuffix(b, []byte("}]\n")) {
		t.Errorf("the file ends with %q, %v", b[max(0, len(b)-20):], err)
	}
	stop()
	w, stop = newStateEnv(t, folder, ca)
	defer stop()
	check("after the end")
}
