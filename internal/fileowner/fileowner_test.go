//go:build unix

package fileowner

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Every folder on the way decides, also where symbolic links lead and where
// nothing exists yet.
func TestCheck(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(top, name) }
	for _, dir := range []string{"home/app/.aws", "home/app/root/deep", "root", "srv", "unmapped"} {
		if err := os.MkdirAll(at(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"root/link": at("home/app"), "home/app/.cache": at("srv"), "srv/loop": at("srv/loop"),
		"srv/dangling": at("home/app/new"), "srv/relative": "../home/app/.aws/new",
		"srv/away": at("home/app/.aws"), "srv/up": "away/../new",
	} {
		if err := os.Symlink(target, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(at("srv/file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	owners := map[string]int{at("home/app"): 4242, at("home/app/.aws"): 4242}
	owner := func(folder string) (int, bool) {
		real, err := filepath.EvalSymlinks(folder)
		return owners[real], err == nil && real != at("unmapped")
	}
	for path, foreign := range map[string]string{
		"root/.cache/holdfast":       "",
		"srv/file":                   "",
		"srv/loop/x":                 "",
		"unmapped/x":                 "",
		"home/other/.cache":          "",
		"home/app":                   "home/app",
		"home/app/.aws/credentials":  "home/app/.aws",
		"home/app/.new/deep/er":      "home/app",
		"home/app/root/deep/x":       "home/app",
		"home/app/.cache/holdfast":   "home/app",
		"root/link/.cache/holdfast":  "root/link",
		"root/../home/app/x":         "home/app",
		"srv/dangling":               "home/app",
		"srv/relative":               "home/app/.aws",
		"root/link/.aws/credentials": "root/link/.aws",
		"srv/away/../new":            "home/app",
		"srv/away/../new/deep/er":    "home/app",
		"srv/up":                     "home/app",
	} {
		err := check(top+"/"+path, owner)
		var e *ForeignError
		switch {
		case foreign == "" && err != nil:
			t.Errorf("%s: %v", path, err)
		case foreign != "" && (!errors.As(err, &e) || e.Folder != at(foreign) || e.UID != 4242 || !errors.Is(err, fs.ErrPermission)):
			t.Errorf("%s: error %v, want one about %s", path, err, foreign)
		}
	}
}

func TestCheckAsOtherUser(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root is checked")
	}
	if err := Check("/etc/holdfast"); err != nil {
		t.Error(err)
	}
}

func TestForeignErrorHint(t *testing.T) {
	for uid, want := range map[int]string{
		0:       "run the command as that user: sudo -H -u 'root' holdfast …",
		4242424: "run the command as that user: sudo -H -u '#4242424' holdfast …",
	} {
		if hint := (&ForeignError{UID: uid}).Hint(); hint != want {
			t.Errorf("UID %d: %s", uid, hint)
		}
	}
}

func TestOverflow(t *testing.T) {
	if !isMapped(os.Geteuid()) {
		t.Error("the user of this process is not mapped")
	}
}
