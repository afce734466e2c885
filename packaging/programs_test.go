//go:build linux

package main

import (
	"archive/zip"
	"bytes"
	"debug/buildinfo"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// emulators are the programs that run those of other processors. A processor of
// architecture amd64 runs those for 386 itself; QEMU's emulation of 386 crashes in the
// runtime of Go when it starts a thread.
var emulators = map[string]string{"arm64": "qemu-aarch64-static", "arm": "qemu-arm-static"}

// TestPrograms starts the programs in a folder that contains nothing else. The helper needs
// a C library, so it is started in the root folder of this machine, or with the library of
// another processor.
func TestPrograms(t *testing.T) {
	needsRoot(t)
	selected(t, "linux", func(t *testing.T, on target) {
		dir := unpack(t, on.label())
		root := t.TempDir()
		var emulator string
		if program := emulators[on.arch]; program != "" && on.arch != runtime.GOARCH {
			emulator = signertest.Require(t, "qemu-user", program)
			copyFile(t, emulator, filepath.Join(root, "emulator"))
		}
		for _, name := range []string{"holdfast", "holdfast-ecp"} {
			copyFile(t, filepath.Join(dir, name), filepath.Join(root, name))
			args := []string{"/" + name, map[string]string{"holdfast": "version", "holdfast-ecp": "--version"}[name]}
			if emulator != "" {
				args = append([]string{"/emulator"}, args...)
			}
			cmd := &exec.Cmd{Path: args[0], Args: args, Dir: "/", Env: []string{}, SysProcAttr: &syscall.SysProcAttr{Chroot: root}}
			checkVersion(t, cmd, name, on)
		}
		if !on.helper {
			if _, err := os.Stat(filepath.Join(dir, "holdfast-pkcs11")); err == nil {
				t.Error("the archive has a helper that cannot load modules")
			}
			return
		}
		args := []string{filepath.Join(dir, "holdfast-pkcs11"), "--version"}
		if emulator != "" {
			library := "/usr/aarch64-linux-gnu"
			if _, err := os.Stat(library); err != nil {
				signertest.Skip(t, "qemu-user", err)
			}
			args = append([]string{emulator, "-L", library}, args...)
		}
		checkVersion(t, exec.Command(args[0], args[1:]...), "holdfast-pkcs11", anywhere)
	})
}

// anywhere stands for a program that does not tell its platform.
var anywhere = target{}

// checkVersion starts a program, which must tell its version and its platform.
func checkVersion(t *testing.T, cmd *exec.Cmd, name string, on target) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%q: %v\n%s", cmd.Args, err, out)
		return
	}
	if want := name + " " + version(t); !strings.HasPrefix(string(out), want) || on.os != "" && !strings.Contains(string(out), on.os+"/"+on.arch) {
		t.Errorf("%q prints %q, want %q for %s", cmd.Args, out, want, on.label())
	}
	t.Log(strings.TrimSpace(string(out)))
}

// version returns the version of the release, from the commit.
func version(t *testing.T) string {
	t.Helper()
	name := strings.TrimSuffix(filepath.Base(find(t, "_sbom.cdx.json")), "_sbom.cdx.json")
	return "v" + strings.TrimPrefix(name, "holdfast_")
}

// TestOtherSystems examines the programs of systems that this machine does not have.
func TestOtherSystems(t *testing.T) {
	if !all {
		t.Skip("only script/test-release builds them")
	}
	check := func(t *testing.T, on target, name string, content io.ReaderAt) {
		info, err := buildinfo.Read(content)
		if err != nil {
			t.Error(err)
			return
		}
		for key, want := range map[string]string{"GOOS": on.os, "GOARCH": on.arch, "CGO_ENABLED": "0", "-trimpath": "true", "vcs.modified": "false"} {
			if !slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == key && s.Value == want }) {
				t.Errorf("%s was not built with %s=%s", name, key, want)
			}
		}
	}
	selected(t, "darwin", func(t *testing.T, on target) {
		dir := unpack(t, on.label())
		for _, name := range on.programs() {
			f, err := os.Open(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			check(t, on, name, f)
			_ = f.Close()
		}
	})
	selected(t, "windows", func(t *testing.T, on target) {
		archive, err := zip.OpenReader(find(t, "_"+on.label()+".zip"))
		if err != nil {
			t.Fatal(err)
		}
		defer archive.Close()
		folder := strings.TrimSuffix(filepath.Base(find(t, "_"+on.label()+".zip")), ".zip")
		for _, name := range on.programs() {
			f, err := archive.Open(folder + "/" + name + ".exe")
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(f)
			if err != nil {
				t.Fatal(err)
			}
			check(t, on, name, bytes.NewReader(data))
		}
	})
}

// selected runs a test for each target of a system that has been built.
func selected(t *testing.T, system string, test func(*testing.T, target)) {
	for _, on := range targets {
		if on.os == system && (all || on.arch == "amd64") {
			t.Run(on.label(), func(t *testing.T) { test(t, on) })
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}

// needsRoot skips a test that changes its root folder.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		signertest.Skip(t, "chroot", syscall.EPERM)
	}
}
