//go:build unix

package pkcs11

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// program writes a program with a mode, in a folder of its own with another.
func program(t *testing.T, path string, mode, folder fs.FileMode) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o600), os.Chmod(path, mode), os.Chmod(filepath.Dir(path), folder)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheckHelper(t *testing.T) {
	top := t.TempDir()
	at := func(name string) string { return filepath.Join(top, name, "run") }
	good := program(t, at("good"), 0o755, 0o755)
	link := func(name, target string, folder fs.FileMode) string {
		path := at(name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(target, path), os.Chmod(filepath.Dir(path), folder)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for path, want := range map[string]string{
		good:                                "",
		program(t, at("own"), 0o700, 0o700): "",
		program(t, at("tmp"), 0o755, 0o777|fs.ModeSticky):   "can be written by other users",
		program(t, at("staff"), 0o755, 0o775):               "staff can be written by its group (mode 0775)",
		link("linked", good, 0o755):                         "",
		program(t, at("group"), 0o775, 0o755):               "can be written by its group (mode 0775)",
		program(t, at("world"), 0o757, 0o755):               "can be written by other users (mode 0757)",
		program(t, at("stuck"), 0o757|fs.ModeSticky, 0o755): "can be written by other users",
		program(t, at("open"), 0o755, 0o777):                "can be written by other users (mode 0777)",
		link("openlink", good, 0o777):                       "can be written by other users",
		link("toopen", at("open"), 0o755):                   "can be written by other users",
		link("toworld", at("world"), 0o755):                 "can be written by other users",
		program(t, at("data"), 0o644, 0o755):                "is not executable (mode 0644)",
		filepath.Dir(good):                                  "is not a program",
	} {
		err := checkHelper(path)
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want) || signer.Hint(&helperError{err: err}) == ""):
			t.Errorf("%s: error %v, want %q", path, err, want)
		case strings.Contains(want, "written") && !errors.Is(err, fs.ErrPermission):
			t.Errorf("%s: error %v is not fs.ErrPermission", path, err)
		}
	}
	for _, path := range []string{at("none"), link("dangling", at("none"), 0o755)} {
		if err := checkHelper(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: error %v", path, err)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	for name, of := range map[string]string{"theirs": at("theirs"), "folder": filepath.Dir(at("folder"))} {
		path := program(t, at(name), 0o755, 0o755)
		if err := os.Chown(of, 4242, -1); err != nil {
			t.Fatal(err)
		}
		if err := checkHelper(path); err == nil || !strings.Contains(err.Error(), "belongs to another user (UID 4242)") {
			t.Errorf("%s: error %v", path, err)
		}
	}
}

func TestFindHelper(t *testing.T) {
	built := helperName + "-" + runtime.GOOS + "-" + runtime.GOARCH
	for _, test := range []struct {
		files []string
		want  string
	}{
		{nil, ""},
		{[]string{"bin/" + helperName}, "bin/" + helperName},
		{[]string{"libexec/holdfast/" + helperName}, "libexec/holdfast/" + helperName},
		{[]string{"bin/" + built}, "bin/" + built},
		{[]string{"bin/" + helperName, "libexec/holdfast/" + helperName, "bin/" + built}, "bin/" + helperName},
		{[]string{"libexec/" + helperName, "path/" + helperName, "bin/" + helperName + ".bak"}, ""},
	} {
		top := t.TempDir()
		for _, name := range test.files {
			program(t, filepath.Join(top, name), 0o755, 0o755)
		}
		t.Setenv("PATH", filepath.Join(top, "path"))
		got, err := findHelperOf(filepath.Join(top, "bin", "app"))
		if test.want != "" {
			test.want = filepath.Join(top, test.want)
		}
		if got != test.want || (err == nil) != (test.want != "") || err != nil && (!errors.Is(err, errors.ErrUnsupported) || !strings.Contains(signer.Hint(err), "install -m 755 holdfast-pkcs11 '"+filepath.Join(top, "bin")+"'")) {
			t.Errorf("%q: found %q, error %v", test.files, got, err)
		}
	}
	// One that is refused is an error: the next place must not hide it.
	top := t.TempDir()
	program(t, filepath.Join(top, "bin", helperName), 0o757, 0o755)
	program(t, filepath.Join(top, "libexec/holdfast", helperName), 0o755, 0o755)
	if got, err := findHelperOf(filepath.Join(top, "bin", "app")); got != "" || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("found %q, error %v", got, err)
	}
}

func TestHelperVariable(t *testing.T) {
	good := program(t, filepath.Join(t.TempDir(), "run"), 0o755, 0o755)
	open := program(t, filepath.Join(t.TempDir(), "run"), 0o755, 0o777)
	for _, test := range []struct {
		value, want string
		is          error
	}{
		{good, "", nil},
		{"bin/holdfast-pkcs11", "not an absolute path", nil},
		{open, "is refused: the folder", fs.ErrPermission},
		{good + "2", "no such file", fs.ErrNotExist},
	} {
		t.Setenv(HelperVariable, test.value)
		got, err := findHelper()
		switch {
		case test.want == "" && (err != nil || got != good):
			t.Errorf("%s: found %q, error %v", test.value, got, err)
		case test.want != "" && !errors.Is(err, signer.ErrUnavailable), test.is != fs.ErrPermission && err != nil && !strings.Contains(signer.Hint(err), "unset"):
			t.Errorf("%s: error %v, hint %q", test.value, err, signer.Hint(err))
		case test.want != "" && (got != "" || err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), HelperVariable+": ") || test.is != nil && !errors.Is(err, test.is)):
			t.Errorf("%s: found %q, error %v", test.value, got, err)
		}
	}
}

func TestIsolationOf(t *testing.T) {
	good := program(t, filepath.Join(t.TempDir(), "run"), 0o755, 0o755)
	open := program(t, filepath.Join(t.TempDir(), "run"), 0o755, 0o777)
	here, always := "", good
	const installed = "holdfast-pkcs11 is installed"
	itself := "this build can load modules itself"
	if supported() != nil {
		here, itself = good, "this build cannot load modules itself"
	}
	for _, test := range []struct {
		ref         string
		longRunning bool
		want        string

		value, reason string
	}{
		{"token=t", false, here, "", itself},
		{"token=t", true, always, IsolationAuto, installed},
		{"token=t?isolation=on", false, always, IsolationOn, ""},
		{"token=t?isolation=auto", false, always, IsolationAuto, installed},
	} {
		t.Setenv(HelperVariable, good)
		call := keystore.Call{Options: keystore.Options{LongRunning: test.longRunning}}
		got, err := Backend{}.Isolation(keystore.Ref{Scheme: "pkcs11", Rest: test.ref}, call)
		if want := (keystore.Isolation{Program: test.want, Value: test.value, Reason: test.reason}); err != nil || got != want {
			t.Errorf("%s: got %+v, error %v", test.ref, got, err)
		}
	}
	t.Setenv(HelperVariable, open)
	auto := keystore.Ref{Scheme: "pkcs11", Rest: "token=t?isolation=auto"}
	got, err := Backend{}.Isolation(auto, keystore.Call{})
	if supported() == nil && (err != nil || got.Program != "" || got.Reason != "holdfast-pkcs11 cannot be used" || !errors.Is(got.Refused, fs.ErrPermission)) || supported() != nil && !errors.Is(err, fs.ErrPermission) {
		t.Errorf("others can write it: got %+v, error %v", got, err)
	}
	t.Setenv(HelperVariable, "")
	got, err = Backend{}.Isolation(auto, keystore.Call{})
	if supported() == nil && (err != nil || got != (keystore.Isolation{Value: IsolationAuto, Reason: "holdfast-pkcs11 is not installed"})) || supported() != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("without a helper: got %+v, error %v", got, err)
	}
	off := keystore.Ref{Scheme: "pkcs11", Rest: "token=t?isolation=off"}
	if got, err := (Backend{}).Isolation(off, keystore.Call{}); got != (keystore.Isolation{Value: IsolationOff}) || (err == nil) != (supported() == nil) {
		t.Errorf("off: got %+v, error %v", got, err)
	}
}

// The error without a helper names the folders, and its hint what to do.
func TestHelperIsNowhere(t *testing.T) {
	_, err := findHelperOf("/opt/app/bin/app")
	if err == nil || err.Error() != "the helper holdfast-pkcs11 was not found in /opt/app/bin or /opt/app/libexec/holdfast" ||
		signer.Hint(err) != "install holdfast-pkcs11 of the same version there: install -m 755 holdfast-pkcs11 '/opt/app/bin'" {
		t.Errorf("error %v, hint %q", err, signer.Hint(err))
	}
}

// A module that cannot be the right one is the fault, also if there is no helper.
func TestModuleBeforeHelper(t *testing.T) {
	t.Setenv(HelperVariable, "/none")
	for _, u := range []URI{{ModulePath: "relative.so"}, {ModulePath: "relative.so", Isolation: IsolationOn}} {
		_, err := loaded.find(Config{URI: u})
		if malformed := new(keystore.RefError); !errors.As(err, &malformed) {
			t.Errorf("%+v: error %v", u, err)
		}
	}
}

// Only a file that is named as the helper is to be made executable.
func TestHintNotExecutable(t *testing.T) {
	for name, chmod := range map[string]bool{helperName: true, helperName + "-linux-amd64": true, "passwd": false} {
		path := program(t, filepath.Join(t.TempDir(), name), 0o644, 0o755)
		t.Setenv(HelperVariable, path)
		_, err := findHelper()
		if hint := signer.Hint(err); strings.Contains(hint, "chmod +x "+path) != chmod || strings.Contains(hint, "unset it") == chmod {
			t.Errorf("%s: error %v, hint %s", name, err, hint)
		}
	}
}

// A helper that was killed is not the fault of its module, and closing keys does not help.
func TestHintKilledHelper(t *testing.T) {
	killed := exec.Command("sh", "-c", "kill -KILL $$").Run()
	err := error(&endedError{"module", killed, true})
	s := &sharedModule{owner: &modules{}, keys: map[*Key]struct{}{{auth: &authenticator{}}: {}}}
	if hint := signer.Hint(s.explain(fmt.Errorf("%w: %w", signer.ErrUnavailable, err))); !strings.Contains(hint, "something killed it") || strings.Contains(hint, "version of the module") || strings.Contains(hint, "close") {
		t.Errorf("killed: %v: %s", killed, hint)
	}
	aborted := exec.Command("sh", "-c", "kill -ABRT $$").Run()
	if hint := signer.Hint(&endedError{"module", aborted, true}); !strings.Contains(hint, "another version of the module") {
		t.Errorf("aborted: %v: %s", aborted, hint)
	}
}
