//go:build unix

package fileowner

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckFolders(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(top, name) }
	for _, dir := range []struct {
		name string
		mode fs.FileMode
	}{
		{"good/deep", 0o755}, {"open/mine", 0o700}, {"open", 0o777}, {"group/mine", 0o700}, {"group", 0o770}, {"sticky/mine", 0o700}, {"sticky", 0o777 | fs.ModeSticky},
		{"other/mine", 0o700},
	} {
		if err := errors.Join(os.MkdirAll(at(dir.name), 0o700), os.Chmod(at(dir.name), dir.mode)); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"link": "good", "out": at("open/mine"), "up": "open/mine/../../good", "loop": "loop", "sticky/link": "../good", "sticky/other": "../good",
	} {
		if err := os.Symlink(target, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"good/x": "", "good/deep/x": "", "good/../good/x": "", "sticky/x": "", "sticky/mine/x": "", "link/deep/x": "", "sticky/link/x": "",
		"open/x": "open can be written", "open/mine/x": "open can be written", "group/mine/x": "group can be written by its group (mode 0770)",
		"out/x": "open can be written", "up/x": "open can be written",
	} {
		checkFolders(t, at(name), want)
	}
	for _, name := range []string{"none/x", "loop/x"} {
		var e *FolderError
		if err := CheckFolders(at(name)); err == nil || errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	for _, name := range []string{"other", "sticky/other"} {
		if err := os.Lchown(at(name), 4242, -1); err != nil {
			t.Fatal(err)
		}
	}
	checkFolders(t, at("other/mine/x"), "the folder "+at("other")+" belongs to another user (UID 4242)")
	checkFolders(t, at("sticky/other/x"), "the symbolic link "+at("sticky/other")+" belongs to another user (UID 4242)")
}

func checkFolders(t *testing.T, path, want string) {
	t.Helper()
	err := CheckFolders(path)
	var e *FolderError
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", path, err)
	case want != "" && (!errors.As(err, &e) || !strings.Contains(err.Error(), want) || !errors.Is(err, fs.ErrPermission)):
		t.Errorf("%s: error %v, want %q", path, err, want)
	}
}
