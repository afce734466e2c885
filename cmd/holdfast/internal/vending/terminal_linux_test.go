package vending_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/ptytest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// encrypt writes the key of a site, encrypted.
func encrypt(t *testing.T, s *clitest.Site, name, password string) {
	t.Helper()
	openssl := signertest.Require(t, "openssl", "openssl")
	s.Write(t, name+".pw", []byte(password+"\n"))
	cmd := exec.Command(openssl, "pkcs8", "-topk8", "-in", s.Path("key.pem"), "-out", s.Path(name), "-passout", "file:"+s.Path(name+".pw"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	if err := os.Chmod(s.Path(name), 0o600); err != nil {
		t.Fatal(err)
	}
}

func askingArgs(s *clitest.Site, key string) []string {
	return append([]string{"credential-process", "--certificate", s.Path("cert.pem"), "--private-key", s.Path(key)}, s.Up.Args...)
}

// onTerminal starts a program with a terminal of its own.
func onTerminal(t *testing.T, name string, args ...string) (master *os.File, cmd *exec.Cmd) {
	t.Helper()
	master, slave := ptytest.New(t)
	cmd = exec.Command(name, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit, "TERM=xterm"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); _ = cmd.Wait() })
	slave.Close()
	return master, cmd
}

func typeIn(t *testing.T, master *os.File, text string) {
	t.Helper()
	if _, err := master.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestPromptIsSuspended(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	encrypt(t, s, "enc.pem", "opensesame")
	master, _ := onTerminal(t, "job", append([]string{"holdfast"}, askingArgs(s, "enc.pem")...)...)
	ptytest.ReadUntil(t, master, "password for")
	for _, half := range []string{"open", "", "closesesame"} { // a line that is suspended is lost
		typeIn(t, master, half+"\x1a")
		ptytest.ReadUntil(t, master, fmt.Sprintf("stopped=%d, sane=true.", syscall.SIGTSTP), "password for")
	}
	typeIn(t, master, "opensesame\r")
	if shown := ptytest.ReadUntil(t, master, `{"Version":1`, "signal=-1, code=0, sane=true."); bytes.Contains(shown, []byte("sesame")) {
		t.Errorf("the terminal shows %q", shown)
	}
}

// SIGSTOP cannot be caught. After SIGCONT, the terminal is silent again.
func TestPromptIsStopped(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	encrypt(t, s, "enc.pem", "opensesame")
	master, _ := onTerminal(t, "job", append([]string{"holdfast"}, askingArgs(s, "enc.pem")...)...)
	pid := pidOf(t, ptytest.ReadUntil(t, master, "pid=", ".", "password for"))
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ptytest.ReadUntil(t, master, "stopped=", ".", "password for")
	typeIn(t, master, "opensesame\r")
	if shown := ptytest.ReadUntil(t, master, `{"Version":1`, "code=0, sane=true."); bytes.Contains(shown, []byte("sesame")) {
		t.Errorf("the terminal shows %q", shown)
	}
}

func pidOf(t *testing.T, shown []byte) (pid int) {
	t.Helper()
	_, rest, _ := bytes.Cut(shown, []byte("pid="))
	if _, err := fmt.Sscanf(string(rest), "%d.", &pid); err != nil {
		t.Fatalf("%v in %q", err, shown)
	}
	return pid
}

// Every signal that ends the program leaves the terminal as it was.
func TestPromptIsSignaled(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	encrypt(t, s, "enc.pem", "opensesame")
	const caught, core = 1, 2 // exit codes: an interrupt, and a dump of the Go runtime
	for _, c := range []struct {
		sig   syscall.Signal
		typed string // "": the signal comes from another process
		want  string
	}{
		{syscall.SIGINT, "open\x03", fmt.Sprintf("signal=-1, code=%d, sane=true.", caught)},
		{syscall.SIGQUIT, "open\x1c", fmt.Sprintf("signal=-1, code=%d, sane=true.", core)},
		{syscall.SIGINT, "", fmt.Sprintf("signal=-1, code=%d, sane=true.", caught)},
		{syscall.SIGTERM, "", fmt.Sprintf("signal=-1, code=%d, sane=true.", caught)},
		{syscall.SIGHUP, "", fmt.Sprintf("signal=%d, code=-1, sane=true.", syscall.SIGHUP)},
	} {
		t.Run(c.want, func(t *testing.T) {
			master, _ := onTerminal(t, "job", append([]string{"holdfast"}, askingArgs(s, "enc.pem")...)...)
			pid := pidOf(t, ptytest.ReadUntil(t, master, "pid=", ".", "password for"))
			if typeIn(t, master, c.typed); c.typed == "" {
				if err := syscall.Kill(pid, c.sig); err != nil {
					t.Fatal(err)
				}
			}
			if shown := ptytest.ReadUntil(t, master, "signal=", "."); !bytes.Contains(shown, []byte(c.want)) {
				t.Errorf("%v: %q, want %q", c.sig, shown, c.want)
			}
		})
	}
}

// Two programs that ask on one terminal take turns, so that each gets a whole
// password.
func TestPromptsTakeTurns(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	passwords := map[string]string{"one.pem": "opensesame", "two.pem": "closesesame", "three.pem": "Schl\xfcssel"}
	var script strings.Builder
	for name, password := range passwords {
		encrypt(t, s, name, password)
		fmt.Fprintf(&script, "holdfast '%s' >%s.json && echo %s.done &\n", strings.Join(askingArgs(s, name), "' '"), s.Path(name), name)
	}
	master, _ := onTerminal(t, "sh", "-c", script.String()+"wait; echo all.done")
	for range passwords {
		shown := ptytest.ReadUntil(t, master, "password for ", ": ")
		_, path, _ := strings.Cut(string(shown), "password for ")
		name := path[strings.LastIndexByte(path, '/')+1 : strings.Index(path, ": ")]
		if strings.Count(string(shown), "password for") != 1 || passwords[name] == "" {
			t.Fatalf("%q", shown)
		}
		typeIn(t, master, passwords[name]+"\r")
	}
	ptytest.ReadUntil(t, master, "all.done")
	for name := range passwords {
		if out, err := os.ReadFile(s.Path(name + ".json")); err != nil || !bytes.HasPrefix(out, []byte(`{"Version":1`)) {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

// pinentry-curses asks on the terminal. Its answers have their own errors, and the
// terminal is as before.
func TestPinentryOnTerminal(t *testing.T) {
	t.Parallel()
	signertest.Require(t, "pinentry-curses", "pinentry-curses")
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	encrypt(t, s, "enc.pem", "opensesame")
	args := append(askingArgs(s, "enc.pem"), "--pin-source", "pinentry")
	for _, c := range []struct {
		typed string
		want  []string
	}{
		{"opensesame\r", []string{`{"Version":1`, "code=0, sane=true."}},
		{"opensesame\t\t\r", []string{"the dialog was canceled", "run the command again", "code=4, sane=true."}},
		{"closesesame\r", []string{"password incorrect", "code=4, sane=true."}},
		{"\r", []string{"the input is empty", "code=4, sane=true."}},
	} {
		master, _ := onTerminal(t, "job", append([]string{"env", "HOLDFAST_PINENTRY=pinentry-curses", "holdfast"}, args...)...)
		ptytest.ReadUntil(t, master, "enc.pem", "Password:", "<OK>", "<Cancel>")
		typeIn(t, master, c.typed)
		if shown := ptytest.ReadUntil(t, master, c.want...); bytes.Contains(shown, []byte("sesame")) {
			t.Errorf("the terminal shows %q", shown)
		}
	}
}

// Without a terminal, a program of the desktop asks. A missing one is named.
func TestPinentryWithoutTerminal(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	encrypt(t, s, "enc.pem", "opensesame")
	for name, answer := range map[string]string{"right": "printf 'D opensesame\\nOK\\n'", "canceled": "echo ERR 83886179 canceled", "late": "echo ERR 83886142 timeout"} {
		script := "#!/bin/sh\necho OK\nwhile read -r line; do case $line in GETPIN) " + answer + ";; *) echo OK;; esac; done\n"
		if err := clitest.WriteProgram(s.Path(name), []byte(script)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		program string
		code    int
		want    []string
	}{
		{s.Path("right"), 0, nil},
		{s.Path("canceled"), 4, []string{"the dialog was canceled", "enc.pem"}},
		{s.Path("late"), 4, []string{"nobody answered the dialog in time", "enc.pem"}},
		{s.Path("none"), 4, []string{"no pinentry program was found", "HOLDFAST_PINENTRY"}},
		{"/bin/false", 4, []string{"does not answer like a pinentry", "HOLDFAST_PINENTRY"}},
	} {
		cmd := exec.Command("holdfast", append(askingArgs(s, "enc.pem"), "--pin-source", "pinentry")...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit, "HOLDFAST_PINENTRY=" + c.program}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		r := runCommand(t, cmd, &stdout, &stderr)
		if r.code != c.code || strings.Contains(r.stderr, "opensesame") {
			t.Errorf("%s: %+v", c.program, r)
		}
		for _, want := range c.want {
			if !strings.Contains(r.stderr, want) {
				t.Errorf("%s: %q is not in %q", c.program, want, r.stderr)
			}
		}
	}
}

// A prompt that cannot be shown says whose password was wanted.
func TestPromptWithoutTerminal(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	encrypt(t, s, "enc.pem", "opensesame")
	for env, hint := range map[string]string{"X=": "env:NAME", "DISPLAY=:0": "pinentry", "WAYLAND_DISPLAY=w": "pinentry"} {
		cmd := exec.Command("holdfast", askingArgs(s, "enc.pem")...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit, env}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		r := runCommand(t, cmd, &stdout, &stderr)
		if r.code != 4 || !strings.Contains(r.stderr, "no terminal is available to ask for the password for "+s.Path("enc.pem")) || !strings.Contains(r.stderr, hint) {
			t.Errorf("%s: %+v", env, r)
		}
	}
}
