//go:build cgo && linux

package main

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

	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// faultyModule returns a module in dir that passes on to the one in
// FAULT_MODULE, and fails by the rules in the file FAULT_RULES.
func faultyModule(t testing.TB, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "fault.so")
	cc := exec.Command(signertest.Require(t, "cc", "cc"), "-shared", "-fPIC", "-o", name, "../../pkcs11/interop/testdata/fault.c", "-ldl", "-lpthread")
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	return name
}

// A module that never returns neither keeps valid credentials back nor the end
// off.
func TestWhileAModuleHangs(t *testing.T) {
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	id := tokenIdentities(t, ca)[0]
	ref := slices.Index(id.flags, "--certificate") + 1
	uri, err := pkcs11.ParseURI(id.flags[ref])
	if err != nil {
		t.Fatal(err)
	}
	rules := filepath.Join(id.dir, "rules")
	id.env = append(id.env, "FAULT_MODULE="+uri.ModulePath, "FAULT_RULES="+rules)
	uri.ModulePath = faultyModule(t, id.dir)
	id.flags[ref] = uri.String()

	set := func(rule string) {
		t.Helper()
		if err := os.WriteFile(rules+".new", []byte(rule+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(rules+".new", rules); err != nil {
			t.Fatal(err)
		}
	}
	hangs := func(t *testing.T) {
		t.Helper()
		eventually(t, "it hangs", func() bool {
			return os.Remove(rules+".hangs") == nil
		})
	}
	// ends terminates a process and returns what it ended with.
	ends := func(t *testing.T, p *os.Process, done <-chan error) error {
		t.Helper()
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			return err
		case <-time.After(30 * time.Second):
			t.Fatal("SIGTERM does not end it")
			return nil
		}
	}

	names, waits := uri.ModulePath+": the device hangs", "waiting for credentials"
	for _, test := range []struct {
		args  []string
		key   bool              // takes the flags of a key and a session
		calls map[string]string // that hang, and what is said of it; "": it is the end that is expected
	}{
		{[]string{"credential-process"}, true, map[string]string{"C_OpenSession": names, "C_Login": names, "C_Sign": names}},
		{[]string{"serve", "--port", "0"}, true, map[string]string{"C_OpenSession": names, "C_Sign": ""}},
		{[]string{"update", "--profile", "p"}, true, map[string]string{"C_Login": names, "C_Sign": ""}},
		{[]string{"exec"}, true, map[string]string{"C_OpenSession": names, "C_Sign": waits}},
		{[]string{"list", "--in", "pkcs11:?module-path=" + uri.ModulePath}, false, map[string]string{"C_FindObjects": names}},
	} {
		for call, says := range test.calls {
			t.Run(test.args[0]+" "+call, func(t *testing.T) {
				up := newUpstream(t, ca.Root(), time.Hour)
				set("1 " + call + " 1 0 hang 0")
				args := test.args
				if test.key {
					args = slices.Concat(args, id.flags, up.args)
				}
				if args[0] == "exec" {
					args = append(args, "--", "true")
				}
				cmd := exec.Command("holdfast", args...)
				dir := t.TempDir()
				cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "GORACE=" + quickExit, "HOME=" + dir, "XDG_RUNTIME_DIR=" + dir}, id.env...)
				var log lockedBuffer
				cmd.Stderr = &log
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				go func() { done <- cmd.Wait() }()
				t.Cleanup(func() { cmd.Process.Kill() })
				hangs(t)
				err := ends(t, cmd.Process, done)
				if (err == nil) != (says == "") || !strings.Contains(log.String(), says) || strings.Contains(log.String(), "panic") {
					t.Errorf("it ended with %v\n%s", err, &log)
				}
				if n := up.sessions.Load(); n > 0 {
					t.Errorf("%d sessions were made", n)
				}
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
			s := &site{dir: t.TempDir(), ca: ca, up: newUpstream(t, ca.Root(), test.life)}
			s.served = startServe(t, s.dir, id.env, slices.Concat([]string{"--status-listen", "127.0.0.1:0"}, id.flags, s.up.args)...)
			waitReady(t, s.served)
			set("2 " + test.call + " 1 0 hang 0")
			if test.signal {
				s.signal(t, syscall.SIGHUP)
			}
			hangs(t)
			var expires time.Time
			for range 20 {
				if status := s.check(t, &expires); status != http.StatusOK {
					t.Fatalf("status %d", status)
				}
			}
			if resp, _ := ask(t, "GET", s.status+"/healthz"); resp.StatusCode != http.StatusOK {
				t.Errorf("healthz: %d", resp.StatusCode)
			}
			if err := ends(t, s.Process, s.done); err != nil {
				t.Errorf("it ended with %v", err)
			}
			s.done <- nil // for what comes after the test
			if log := s.log.String(); strings.Contains(log, "panic") {
				t.Errorf("the log:\n%s", log)
			}
		})
	}
}
