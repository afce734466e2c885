//go:build cgo && linux

package vending_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"

	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// If a PKCS #11 module hangs, serve still returns valid credentials, and every
// command ends on SIGTERM.
func TestWhileAModuleHangs(t *testing.T) {
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	id := clitest.TokenIdentities(t, ca)[0]
	ref := slices.Index(id.Flags, "--certificate") + 1
	uri, err := pkcs11.ParseURI(id.Flags[ref])
	if err != nil {
		t.Fatal(err)
	}
	rules := filepath.Join(id.Dir, "rules")
	id.Env = append(id.Env, "FAULT_MODULE="+uri.ModulePath, "FAULT_RULES="+rules)
	uri.ModulePath = clitest.FaultyModule(t, id.Dir)
	id.Flags[ref] = uri.String()

	set := func(rule string) {
		t.Helper()
		if err := os.WriteFile(rules+".new", []byte(rule+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(rules+".new", rules); err != nil {
			t.Fatal(err)
		}
	}
	waitUntilHung := func(t *testing.T) {
		t.Helper()
		clitest.Eventually(t, "a function that hangs", func() bool {
			return os.Remove(rules+".hangs") == nil
		})
	}
	// ends sends SIGTERM to a process and returns the error of its exit.
	ends := func(t *testing.T, p *os.Process, done <-chan error) error {
		t.Helper()
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			return err
		case <-time.After(30 * time.Second):
			t.Fatal("the process does not end on SIGTERM")
			return nil
		}
	}

	another := uri
	another.Object = "another"
	names, waits := uri.ModulePath+" does not answer", "waiting for credentials"
	for _, test := range []struct {
		args  []string
		key   bool              // the command has flags for a key and a session
		calls map[string]string // functions that hang, and the expected log; "": the command succeeds
	}{
		{[]string{"credential-process"}, true, map[string]string{"C_OpenSession": names, "C_Login": names, "C_Sign": names}},
		{[]string{"serve", "--port", "0"}, true, map[string]string{"C_OpenSession": names, "C_Sign": ""}},
		{[]string{"update", "--profile", "p"}, true, map[string]string{"C_Login": names, "C_Sign": ""}},
		{[]string{"update", "--once", "--profile", "p"}, true, map[string]string{"C_Sign": names}},
		{[]string{"generate", "--private-key", another.String(), "--pin-source", "file:" + filepath.Join(id.Dir, "pin")}, false, map[string]string{"C_Login": names}},
		{[]string{"exec"}, true, map[string]string{"C_OpenSession": names, "C_Sign": waits}},
		{[]string{"list", "--in", "pkcs11:?module-path=" + uri.ModulePath}, false, map[string]string{"C_FindObjects": names}},
	} {
		for call, want := range test.calls {
			t.Run(strings.Join(test.args[:min(2, len(test.args))], " ")+" "+call, func(t *testing.T) {
				up := clitest.NewUpstream(t, ca.Root(), time.Hour)
				set("1 " + call + " 1 0 hang 0")
				args := test.args
				if test.key {
					args = slices.Concat(args, id.Flags, up.Args, []string{"--timeout", "1h"})
				}
				if args[0] == "exec" {
					args = append(args, "--", "true")
				}
				cmd := exec.Command("holdfast", args...)
				dir := t.TempDir()
				cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit, "HOME=" + dir, "XDG_RUNTIME_DIR=" + dir}, id.Env...)
				var log clitest.LockedBuffer
				cmd.Stderr = &log
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				go func() { done <- cmd.Wait() }()
				t.Cleanup(func() { cmd.Process.Kill() })
				waitUntilHung(t)
				err := ends(t, cmd.Process, done)
				if (err == nil) != (want == "") || !strings.Contains(log.String(), want) || strings.Contains(log.String(), "panic") {
					t.Errorf("it ended with %v\n%s", err, &log)
				}
				if n := up.Sessions.Load(); n > 0 {
					t.Errorf("%d sessions were made", n)
				}
			})
		}
	}

	for _, test := range []struct {
		args  []string
		calls []string
	}{
		{[]string{"credential-process"}, []string{"C_OpenSession", "C_Login", "C_Sign"}},
		{[]string{"serve", "--port", "0"}, []string{"C_OpenSession"}},
		{[]string{"update", "--profile", "p"}, []string{"C_Login"}},
		{[]string{"update", "--once", "--profile", "p"}, []string{"C_Sign"}},
		{[]string{"exec"}, []string{"C_OpenSession", "C_Sign"}},
	} {
		for _, call := range test.calls {
			t.Run("timeout "+strings.Join(test.args[:min(2, len(test.args))], " ")+" "+call, func(t *testing.T) {
				up := clitest.NewUpstream(t, ca.Root(), time.Hour)
				set("1 " + call + " 1 0 hang 0")
				args := slices.Concat(test.args, id.Flags, up.Args, []string{"--timeout", "2s"})
				if args[0] == "exec" {
					args = append(args, "--", "true")
				}
				cmd := exec.Command("holdfast", args...)
				dir := t.TempDir()
				cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit, "HOME=" + dir, "XDG_RUNTIME_DIR=" + dir}, id.Env...)
				out, err := cmd.CombinedOutput()
				if code := cmd.ProcessState.ExitCode(); code != front.ExitUnavailable || !strings.Contains(string(out), "hint: ") || strings.Contains(string(out), "panic") {
					t.Errorf("it ended with %v\n%s", err, out)
				}
				if n := up.Sessions.Load(); n > 0 {
					t.Errorf("%d sessions were made", n)
				}
				_ = os.Remove(rules + ".hangs")
			})
		}
	}

	for _, test := range []struct {
		name, call string
		life       time.Duration // of a session
		signal     bool          // SIGHUP
	}{
		{"reload", "C_OpenSession", time.Hour, true},
		{"renewal", "C_Sign", 12 * time.Second, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			set("1 none 1 0 return 0")
			s := &clitest.Site{Dir: t.TempDir(), CA: ca, Up: clitest.NewUpstream(t, ca.Root(), test.life)}
			s.Served = clitest.StartServe(t, s.Dir, id.Env, slices.Concat([]string{"--status-listen", "127.0.0.1:0"}, id.Flags, s.Up.Args)...)
			clitest.WaitReady(t, s.Served)
			set("2 " + test.call + " 1 0 hang 0")
			if test.signal {
				s.Signal(t, syscall.SIGHUP)
			}
			waitUntilHung(t)
			var expires time.Time
			for range 20 {
				if status := s.Check(t, &expires); status != http.StatusOK {
					t.Fatalf("status %d", status)
				}
			}
			if resp, _ := clitest.Ask(t, "GET", s.Status+"/healthz"); resp.StatusCode != http.StatusOK {
				t.Errorf("healthz: %d", resp.StatusCode)
			}
			if err := ends(t, s.Process, s.Done); err != nil {
				t.Errorf("it ended with %v", err)
			}
			s.Done <- nil // the cleanup of the test receives it again
			if log := s.Log.String(); strings.Contains(log, "panic") {
				t.Errorf("the log:\n%s", log)
			}
		})
	}
}
