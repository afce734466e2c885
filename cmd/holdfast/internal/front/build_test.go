package front

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestReadBuild(t *testing.T) {
	if b := ReadBuild(); b.Version == "" || b.Go == "" || b.OS == "" || b.Arch == "" {
		t.Errorf("got %+v", b)
	}
	defer func(before string) { version = before }(version)
	version = "v1.2.3"
	if got := ReadBuild().Version; got != "v1.2.3" {
		t.Errorf("got %q", got)
	}
}

// The linker silently ignores -X for a variable that does not exist.
func TestVersionIsSet(t *testing.T) {
	for _, name := range []string{"Makefile", "script/build-all"} {
		text, err := os.ReadFile(filepath.Join("../../../..", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, variable := range []string{reflect.TypeFor[Build]().PkgPath() + ".version", "main.version"} { // of holdfast and of holdfast-pkcs11
			if flag := "-X=" + variable; !strings.Contains(string(text), flag) {
				t.Errorf("%s has no %s", name, flag)
			}
		}
	}
}

// The shell neither executes nor splits the version.
func TestVersionIsQuoted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the builds need a POSIX shell")
	}
	bin := t.TempDir()
	if err := os.WriteFile(bin+"/go", []byte("#!/bin/sh\nprintf '%s\\n' \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"holdfast", "holdfast-ecp", "holdfast-pkcs11"} { // this go builds nothing
		if err := os.WriteFile(filepath.Join(bin, name), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	const version = `v1 "x"; exit 1`
	for want, args := range map[string][]string{
		"-ldflags=-X=":    {"make", "build"},
		"-ldflags=-s -X=": {"sh", "script/build-all"},
	} {
		signertest.Require(t, args[0], args[0])
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = "../../../.."
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "GO=go", "BIN="+bin, "MAKEFLAGS=", "HOLDFAST_VERSION="+version)
		out, err := cmd.CombinedOutput()
		for _, variable := range []string{reflect.TypeFor[Build]().PkgPath() + ".version", "main.version"} {
			if line := "\n" + want + variable + "=" + version + "\n"; err != nil || !strings.Contains(string(out), line) {
				t.Errorf("%s: %v, no %q in\n%s", args, err, line, out)
			}
		}
	}
}

func TestDifferentReleases(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{{"v1.2.3", "v1.2.3", false}, {"v1.2.3", "v1.2.4", true}, {"(devel)", "v1.2.4", false}, {"v1.2.3", "(devel)", false}} {
		if got := DifferentReleases(test.a, test.b); got != test.want {
			t.Errorf("%s and %s: %v", test.a, test.b, got)
		}
	}
}
