//go:build linux && cgo

package interop

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// ranFile is an environment variable of child processes. It contains the path
// of a file that a child creates if its test ran to the end and was not
// skipped.
const ranFile = "HOLDFAST_INTEROP_RAN"

// inOwnProcess runs the calling test again in a child process, and reports
// whether this process is the child. In the parent, the test returns
// immediately:
//
//	if !inOwnProcess(t) {
//		return
//	}
func inOwnProcess(t *testing.T) bool {
	t.Helper()
	return run(t, &syscall.SysProcAttr{})
}

// inMountNamespace is like inOwnProcess, but the child has a new mount
// namespace, in which it can call [bindMount], and a new network namespace
// without a network connection. If the kernel allows only root to create these
// namespaces, the test is skipped for other users, or fails if HOLDFAST_REQUIRE
// contains name.
func inMountNamespace(t *testing.T, name string) bool {
	t.Helper()
	attr := &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		attr.Unshareflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	if os.Getenv(ranFile) == "" {
		probe := exec.CommandContext(t.Context(), "/bin/true")
		probe.SysProcAttr = attr
		if err := probe.Run(); err != nil {
			signertest.Skip(t, name, fmt.Errorf("no namespaces: %w", err))
		}
	}
	return run(t, attr)
}

func run(t *testing.T, attr *syscall.SysProcAttr) bool {
	t.Helper()
	if ran := os.Getenv(ranFile); ran != "" {
		t.Cleanup(func() {
			if t.Skipped() {
				return
			}
			if err := os.WriteFile(ran, nil, 0o600); err != nil {
				t.Error(err)
			}
		})
		return true
	}
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ran := filepath.Join(t.TempDir(), "ran")
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v", "-test.count=1"}
	if deadline, ok := t.Deadline(); ok {
		// Earlier than the deadline of this process, so that the child prints
		// its stacks.
		args = append(args, fmt.Sprintf("-test.timeout=%v", max(time.Until(deadline)-10*time.Second, time.Second)))
	}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), ranFile+"="+ran)
	cmd.SysProcAttr = attr
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("child process: %v\n%s", err, out)
	}
	t.Logf("child process:\n%s", out)
	if _, err := os.Stat(ran); err != nil {
		t.Error("the test did not run in the child process")
	}
	return false
}

// bindMount mounts dir over a folder of the system. The calling test uses
// [inMountNamespace].
func bindMount(t *testing.T, folder, dir string) {
	t.Helper()
	if err := syscall.Mount(dir, folder, "", syscall.MS_BIND, ""); err != nil {
		t.Fatalf("bind %s over %s: %v", dir, folder, err)
	}
}

// library returns the first file that matches one of the patterns. If there is
// none, the test is skipped, or fails if HOLDFAST_REQUIRE contains name.
func library(t *testing.T, name string, patterns ...string) string {
	t.Helper()
	for _, p := range patterns {
		if found, err := filepath.Glob(p); err == nil && len(found) > 0 {
			return found[0]
		}
	}
	signertest.Skip(t, name, fmt.Errorf("%s: %w", strings.Join(patterns, ", "), fs.ErrNotExist))
	return ""
}

// program returns the path of a program in PATH or in /usr/sbin.
func program(t *testing.T, name, file string) string {
	t.Helper()
	if path := filepath.Join("/usr/sbin", file); isFile(path) {
		return path
	}
	return signertest.Require(t, name, file)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// daemon starts a program that runs until the end of the test. The test fails
// if the program exits, or if ready does not return nil within a minute.
func daemon(t *testing.T, cmd *exec.Cmd, ready func() error) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		select {
		case <-ended:
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			t.Errorf("%s does not exit after SIGTERM", cmd.Path)
			<-ended
		}
		if t.Failed() {
			t.Logf("%s:\n%s", cmd.Path, &out)
		}
	})
	timeout := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case end := <-ended:
			ended <- end
			t.Fatalf("%s exited: %v", cmd.Path, end)
		case <-timeout:
			t.Fatalf("%s is not ready: %v", cmd.Path, err)
		case <-tick.C:
		}
	}
}

// command runs a program and returns its standard output.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, errs.Bytes())
	}
	return out.String()
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
