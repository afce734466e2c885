//go:build unix

package authority_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Root writes nothing into the folder of another user, and nothing where the links
// in it lead. It can read the folder.
func TestFolderOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		signertest.Skip(t, "root", errors.New("only root is checked"))
	}
	a, key, dir := newCA(t)
	c, err := a.Issue(t.Context(), key, template(t, a, "app"), "")
	if err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(t.TempDir(), "nologin")
	if err := errors.Join(os.Remove(filepath.Join(dir, "lock")), os.Symlink(target, filepath.Join(dir, "lock")), os.Chown(dir, 4242, 4242)); err != nil {
		t.Fatal(err)
	}
	b, err := authority.Open(dir, authority.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := b.List(); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	_, issue := b.Issue(t.Context(), key, template(t, b, "late"), "")
	_, repair := b.Repair(t.Context())
	_, create := authority.Create(filepath.Join(dir, "new"), a.Chain(), authority.Options{})
	for name, err := range map[string]error{"issue": issue, "repair": repair, "create": create, "revoke": b.Revoke(t.Context(), serialOf(c), pki.Superseded)} {
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the target of the link: %v", err)
	}
}
