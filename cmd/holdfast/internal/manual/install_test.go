//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// make install puts each file where it is looked for, with permissions for everybody.
func TestInstall(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o022))
	makeProgram := signertest.Require(t, "make", "make")
	bin, dest := t.TempDir(), filepath.Join(t.TempDir(), "a folder")
	install := func(args ...string) ([]byte, error) {
		args = append([]string{"-C", "../../../..", "install", "BIN=" + bin, "DESTDIR=" + dest, "PREFIX=/usr"}, args...)
		return exec.Command(makeProgram, args...).CombinedOutput()
	}
	zsh := "share/zsh/site-functions/_holdfast"
	if _, err := os.Stat("/etc/debian_version"); err == nil {
		zsh = "share/zsh/vendor-completions/_holdfast"
	}
	if out, err := install(); err == nil {
		t.Errorf("it installs nothing without an error: %s", out)
	}
	for _, name := range []string{"holdfast", "holdfast-ecp", "holdfast-pkcs11"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(filepath.Join(bin, "share"), ""); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time, the files exist
		if out, err := install(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for name, mode := range map[string]os.FileMode{
		"bin/holdfast":                               0o755,
		"bin/holdfast-ecp":                           0o755,
		"libexec/holdfast/holdfast-pkcs11":           0o755,
		"share/man/man1/holdfast.1":                  0o644,
		"share/man/man1/holdfast-ca-issue.1":         0o644,
		"share/man/man1/holdfast-pkcs11.1":           0o644,
		"share/bash-completion/completions/holdfast": 0o644,
		zsh: 0o644,
		"share/fish/vendor_completions.d/holdfast.fish": 0o644,
		"share/holdfast/holdfast.ps1":                   0o644,
	} {
		if info, err := os.Stat(filepath.Join(dest, "usr", name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v, want %v", name, info, err, mode)
		}
	}
	for _, tt := range []struct{ arg, zsh string }{
		{"PREFIX=/usr/local", "usr/local/share/zsh/site-functions"},
		{"PREFIX=/opt/a", "opt/a/share/zsh/site-functions"},
		{"ZSH_COMPLETIONS=site-functions", "usr/share/zsh/site-functions"},
		{"ZSH_COMPLETIONS=other", "usr/share/zsh/other"},
	} {
		dest = t.TempDir()
		if out, err := install(tt.arg); err != nil {
			t.Fatalf("%s: %v\n%s", tt.arg, err, out)
		}
		found, _ := filepath.Glob(filepath.Join(dest, "*", "share/zsh/*"))
		more, _ := filepath.Glob(filepath.Join(dest, "*", "*", "share/zsh/*"))
		if found = append(found, more...); len(found) != 1 || found[0] != filepath.Join(dest, tt.zsh) {
			t.Errorf("%s: the completions of zsh are in %q, want %s", tt.arg, found, tt.zsh)
		}
	}
}

// make build makes a folder in which only its owner can replace the programs, whatever the
// umask and the mode of an older folder are.
func TestBuildIsNotWritableByOthers(t *testing.T) {
	makeProgram := signertest.Require(t, "make", "make")
	bin := filepath.Join(t.TempDir(), "bin")
	compiler := filepath.Join(t.TempDir(), "go") // writes an empty program, as "go build -o DIR/ PACKAGE" does
	script := "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\nmkdir -p \"$2\" && : >\"$2${3##*/}\"\n"
	if err := os.WriteFile(compiler, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	defer syscall.Umask(syscall.Umask(0o002))
	for _, older := range []os.FileMode{0, 0o775, 0o777} {
		if older != 0 {
			if err := errors.Join(os.Chmod(bin, older), os.Chmod(filepath.Join(bin, "holdfast-pkcs11"), older)); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := exec.Command(makeProgram, "-C", "../../../..", "build", "BIN="+bin, "GO="+compiler).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, name := range []string{"", "holdfast", "holdfast-ecp", "holdfast-pkcs11"} {
			if info, err := os.Stat(filepath.Join(bin, name)); err != nil || info.Mode().Perm()&0o022 != 0 {
				t.Errorf("bin/%s: %v %v; the older mode was %v", name, info, err, older)
			}
		}
	}
}
