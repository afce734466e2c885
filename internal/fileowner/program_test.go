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

func TestCheckProgram(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(top, name) }
	for dir, mode := range map[string]fs.FileMode{"good": 0o755, "group": 0o775, "open": 0o777, "sticky": 0o777 | fs.ModeSticky, "foreign": 0o755} {
		if err := errors.Join(os.Mkdir(at(dir), 0o700), os.WriteFile(at(dir+"/run"), nil, 0o600), os.Chmod(at(dir+"/run"), 0o755), os.Chmod(at(dir), mode)); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]fs.FileMode{"good/group": 0o770, "good/other": 0o702, "good/plain": 0o600} {
		if err := errors.Join(os.WriteFile(at(name), nil, 0o600), os.Chmod(at(name), mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(at("open/sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{
		"good/link": "run", "good/out": "../open/run", "open/in": "../good/run", "good/chain": "../open/in", "good/loop": "loop", "good/none": "nothing",
		"folder": "good", "good/away": at("open/sub"), "good/up": "away/../run", "open/folder": at("good"),
	} {
		if err := os.Symlink(target, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"good/run": "", "good/link": "", "folder/run": "", "folder/link": "", "good/plain": "",
		"group/run": " can be written by its group (mode 0775)", "open/run": " can be written by other users", "sticky/run": " can be written by other users",
		"good/group": "group can be written by its group (mode 0770)", "good/other": "mode 0702",
		"good/out": "/open can be written", "open/in": "/open can be written", "good/chain": "/open can be written",
		// The system looks up .. in the folder to which away leads, not in that of away.
		"good/away/../run": "/open can be written", "good/up": "/open can be written",
		"open/folder/run": "/open can be written", "good/../good/run": "", "good/./run": "",
	} {
		err := CheckProgram(top + "/" + name)
		var e *ProgramError
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case want != "" && (!errors.As(err, &e) || !strings.Contains(err.Error(), want) || !errors.Is(err, fs.ErrPermission) || e.Hint() == ""):
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
	for _, name := range []string{"good/none", "nowhere/run"} {
		if err := CheckProgram(top + "/" + name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := CheckProgram(at("good/loop")); err == nil {
		t.Error("a link to itself was accepted")
	}
	t.Chdir(at("good/away"))
	if err := CheckProgram("../run"); err == nil || !strings.Contains(err.Error(), "/open can be written") {
		t.Errorf("../run: %v", err)
	}
	if os.Geteuid() != 0 {
		return
	}
	for _, name := range []string{"foreign", "good/run"} {
		if err := os.Chown(at(name), 4242, -1); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"foreign/run", "good/run", "good/link"} {
		if err := CheckProgram(top + "/" + name); err == nil || !strings.Contains(err.Error(), "belongs to another user (UID 4242)") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
