package vending_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// readers returns standard errors that nobody reads: the reader is gone, or
// does not read and the pipe is full.
func readers(t *testing.T) map[string]*os.File {
	t.Helper()
	all := make(map[string]*os.File)
	for _, name := range []string{"gone", "stuck"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close() })
		all[name] = w
		if name == "gone" {
			r.Close()
			continue
		}
		t.Cleanup(func() { r.Close() })
		if err := w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		for err = nil; err == nil; {
			_, err = w.Write(make([]byte, 4<<10))
		}
	}
	return all
}

// Commands that run for long neither end nor hang because nobody reads what
// they write to standard error.
func TestNobodyReadsStandardError(t *testing.T) {
	t.Parallel()
	for reader, stderr := range readers(t) {
		start := func(t *testing.T, args ...string) (*clitest.Site, *exec.Cmd) {
			s := clitest.NewFiles(t, t.TempDir())
			s.Up = clitest.NewUpstream(t, s.CA.Cert, 2*time.Second)
			all := append([]string{args[0], "--certificate", s.Path("cert.pem"), "--private-key", s.Path("key.pem"), "--debug"}, s.Up.Args...)
			cmd := exec.Command("holdfast", append(all, args[1:]...)...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit, "HOME=" + s.Dir, "TMPDIR=" + s.Dir}
			cmd.Stderr = stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cmd.Process.Kill() })
			return s, cmd
		}
		for _, args := range [][]string{
			{"update", "--profile", "p"},
			{"serve", "--port", "0"},
			{"exec", "--", "sleep", "1000"},
		} {
			t.Run(args[0]+" "+reader, func(t *testing.T) {
				s, cmd := start(t, args...)
				clitest.Eventually(t, "renewals", func() bool { return s.Up.Sessions.Load() > 3 })
				if args[0] == "update" {
					data, err := os.ReadFile(s.Path(".aws/credentials"))
					if err != nil || !strings.Contains(string(data), "aws_session_token") {
						t.Errorf("%q, %v", data, err)
					}
				}
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				want := 0
				if args[0] == "exec" {
					want = 128 + int(syscall.SIGTERM)
				}
				_ = cmd.Wait()
				if code := cmd.ProcessState.ExitCode(); code != want {
					t.Errorf("exit code %d, want %d", code, want)
				}
			})
		}
	}
}

// A warning that nobody reads does not keep credential-process from its result.
func TestCredentialProcessWithoutReader(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	if err := os.Chmod(s.Path("key.pem"), 0o644); err != nil { // causes a warning
		t.Fatal(err)
	}
	cmd, stdout, _ := execCommand(t, append([]string{"credential-process", "--certificate", s.Path("cert.pem"), "--private-key", s.Path("key.pem")}, s.Up.Args...)...)
	cmd.Stderr = readers(t)["gone"]
	if err := cmd.Run(); err != nil || !strings.Contains(stdout.String(), `"AccessKeyId"`) {
		t.Errorf("%v", err)
	}
}

// The command of exec has the default action of SIGPIPE, as in a shell.
func TestExecPassesDefaultSIGPIPE(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	for _, flags := range [][]string{nil, {"--env"}} {
		r := runExec(t, append(execArgs(s, flags...), "grep", "SigIgn", "/proc/self/status")...)
		mask, err := strconv.ParseUint(strings.TrimSpace(strings.TrimPrefix(r.stdout, "SigIgn:")), 16, 64)
		if err != nil || mask&(1<<(syscall.SIGPIPE-1)) != 0 {
			t.Errorf("%q: %q, %v", flags, r.stdout, err)
		}
	}
}

// As PID 1 of a container, exec collects the processes that its command left
// behind, and passes on signals and the exit code.
func TestExecAsFirstProcess(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		signertest.Skip(t, "root", errors.New("only root can create a PID namespace here"))
	}
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	for _, test := range []struct {
		name, script string
		code         int
	}{
		{"exit code", "exit 7", 7},
		{"killed", "kill -KILL $$", 128 + 9},
		{"a signal is passed on", `trap "exit 5" TERM; echo ready; while :; do sleep 0.1; done`, 5},
		{"orphans", `for i in 1 2 3; do sh -c "sleep 0.1 & exit 0"; done; trap "exit 0" TERM; echo ready; while :; do sleep 0.1; done`, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd, _, stderr := execCommand(t, append(execArgs(s), "sh", "-c", test.script)...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
			var stdout clitest.LockedBuffer
			cmd.Stdout = &stdout
			if err := cmd.Start(); err != nil {
				signertest.Skip(t, "root", err)
			}
			if strings.Contains(test.script, "ready") {
				clitest.Eventually(t, "the command runs", func() bool { return strings.Contains(stdout.String(), "ready") })
				clitest.Eventually(t, "only the command is left", func() bool { return len(children(t, cmd.Process.Pid)) == 1 })
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != test.code || stderr.Len() > 0 {
				t.Errorf("exit code %d, want %d: %s", code, test.code, stderr)
			}
		})
	}
}

// children returns the children of a process, including zombies.
func children(t *testing.T, pid int) (all []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range stats {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // the process has ended
		}
		// pid (comm) state ppid …; proc_pid_stat(5)
		if fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:]); string(fields[1]) == fmt.Sprint(pid) {
			all = append(all, string(data))
		}
	}
	return all
}
