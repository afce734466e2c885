package authority_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// On a full disk every operation fails with ENOSPC, and the folder stays sound.
// The test needs permission to mount a small tmpfs.
func TestFullDisk(t *testing.T) {
	source, key, _ := newCA(t)
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=160k"); err != nil {
		signertest.Skip(t, "tmpfs", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(mount, "ca")
	a, err := authority.Create(dir, source.Chain(), authority.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var full int
	for i := 0; full < 40 && i < 400; i++ {
		c, err := a.Issue(t.Context(), key, template(t, a, "app"), "")
		switch {
		case errors.Is(err, unix.ENOSPC):
			full++
		case err != nil:
			t.Fatal(err)
		case i%4 == 0:
			if err := a.Revoke(t.Context(), serialOf(c), pki.Superseded); err != nil && !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			if _, err := a.CRL(t.Context(), key, time.Hour); err != nil && !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
		}
	}
	if full == 0 {
		t.Fatal("the disk is not full")
	}
	b := wantSound(t, dir)
	before, err := b.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range before[:20] { // space again
		_ = os.Remove(filepath.Join(dir, "certificates", c.Serial+".pem"))
	}
	if _, err := b.Issue(t.Context(), key, template(t, b, "late"), ""); err != nil {
		t.Error(err)
	}
	if list, err := wantSound(t, dir).List(); err != nil || len(list) != len(before)+1 {
		t.Errorf("%d entries, %v; there were %d", len(list), err, len(before))
	}
}
