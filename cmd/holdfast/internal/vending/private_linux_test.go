package vending_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

// Other processes of the user, such as the command of exec, cannot read the
// environment of a command that runs for long, which may contain a PIN.
func TestEnvironmentIsHidden(t *testing.T) {
	t.Parallel()
	const nobody = 65534
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := clitest.WriteProgram(s.Path("holdfast"), data); err != nil { // where another user can execute it
		t.Fatal(err)
	}
	asOther := func(cmd *exec.Cmd) *exec.Cmd {
		if os.Geteuid() == 0 { // root can read every environment
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		return cmd
	}
	for _, name := range []string{".", "..", "holdfast", "cert.pem", "key.pem"} {
		err := os.Chmod(s.Path(name), 0o755)
		if err == nil && os.Geteuid() == 0 && name != ".." {
			err = os.Chown(s.Path(name), nobody, nobody)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"exec", "--", "sh", "-c", "echo started; cat /proc/$PPID/environ; echo $?"},
		{"exec", "--env", "--", "sh", "-c", "echo started; cat /proc/$PPID/environ; echo $?"},
		{"serve", "--port", "0"},
		{"update"},
	} {
		t.Run(strings.Join(args[:min(2, len(args))], " "), func(t *testing.T) {
			all := append([]string{args[0], "--certificate", s.Path("cert.pem"), "--private-key", s.Path("key.pem"), "--pin-source", "env:THE_PIN"}, s.Up.Args...)
			cmd := asOther(exec.Command(s.Path("holdfast"), append(all, args[1:]...)...))
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit, "HOME=" + s.Dir, "XDG_RUNTIME_DIR=" + s.Dir, "THE_PIN=the-secret-pin"}
			var out, log clitest.LockedBuffer
			cmd.Stdout, cmd.Stderr = &out, &log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cmd.Process.Kill() })
			if args[0] != "exec" {
				clitest.Eventually(t, "it runs", func() bool {
					return strings.Contains(out.String()+log.String(), "listening") || strings.Contains(log.String(), "wrote")
				})
				environ := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "environ")
				text, err := asOther(exec.Command("cat", environ)).CombinedOutput()
				if err == nil || bytes.Contains(text, []byte("THE_PIN")) {
					t.Errorf("%q, %v", text, err)
				}
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			var exit *exec.ExitError
			if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if args[0] == "exec" && (out.String() != "started\n1\n" || !strings.Contains(log.String(), "Permission denied")) {
				t.Errorf("%q, %s", out.String(), &log)
			}
		})
	}
}
