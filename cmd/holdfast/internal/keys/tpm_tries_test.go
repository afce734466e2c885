//go:build linux

package keys_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// A triesScene is a folder with keys, and a TPM that locks after a few
// incorrect passwords. A parent and each key have a password that it counts.
type triesScene struct {
	testing.TB
	dir      string
	emulator *tpmtest.TPM
	session  []string // flags
}

// tool runs a program of tpm2-tools.
func (s *triesScene) tool(args ...string) string {
	s.Helper()
	cmd := exec.CommandContext(s.Context(), args[0], args[1:]...)
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), "TPM2TOOLS_TCTI="+s.emulator.TCTI())
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

var lockoutCounter = regexp.MustCompile(`TPM2_PT_LOCKOUT_COUNTER: (0x[0-9A-Fa-f]+)`)

// counted returns how many tries the TPM counted.
func (s *triesScene) counted() int {
	s.Helper()
	out := s.tool("tpm2_getcap", "properties-variable")
	m := lockoutCounter.FindStringSubmatch(out)
	if m == nil {
		s.Fatalf("no counter in %s", out)
	}
	n, err := strconv.ParseInt(m[1], 0, 32)
	if err != nil {
		s.Fatal(err)
	}
	return int(n)
}

func (s *triesScene) reset() {
	s.Helper()
	s.tool("tpm2_dictionarylockout", "--clear-lockout")
}

func (s *triesScene) write(name string, data []byte) {
	s.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
		s.Fatal(err)
	}
}

// holdfast runs the program and returns its exit code and its standard error.
func (s *triesScene) holdfast(args ...string) (code int, stderr string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "holdfast", args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = s.dir, s.env(), ownSession
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		s.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), errs.String()
}

func (s *triesScene) env() []string {
	return append(os.Environ(), "TPM_DEVICE="+s.emulator.Path, "HOME="+s.dir)
}

func newTriesScene(t testing.TB) *triesScene {
	t.Helper()
	for _, program := range []string{"tpm2_createprimary", "tpm2_evictcontrol", "tpm2_flushcontext", "tpm2_dictionarylockout", "tpm2_getcap"} {
		signertest.Require(t, "tpm2-tools", program)
	}
	signertest.Require(t, "swtpm", "swtpm")
	s := &triesScene{TB: t, dir: t.TempDir(), emulator: tpmtest.Start(t)}
	ca := signertest.NewCA(t, "root")
	s.write("ca.pem", signertest.CertPEM(ca.Cert))
	s.write("wrong", []byte("not it\n"))
	s.write("parent", []byte("parent-2468\n"))
	s.write("pin", []byte("key-7531\n"))
	// tpm2_createprimary makes a parent without the attribute noDA.
	s.tool("tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc", "-p", "parent-2468", "-c", "parent.ctx")
	s.tool("tpm2_evictcontrol", "-Q", "-C", "o", "-c", "parent.ctx", "0x81000001")
	s.tool("tpm2_flushcontext", "-t")
	answer := func(value string) keystore.PINFunc {
		return func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(value), nil }
	}
	for _, k := range []struct {
		name string
		cfg  tpm.CreateConfig
	}{
		{"key", tpm.CreateConfig{PIN: answer("key-7531")}},
		{"below", tpm.CreateConfig{Parent: 0x81000001, ParentPIN: answer("parent-2468")}},
	} {
		k.cfg.Device = s.emulator.Path
		file, err := tpm.Create(t.Context(), k.cfg, keystore.P256)
		if err != nil {
			t.Fatal(err)
		}
		s.write(k.name, file)
		opened, err := tpm.Open(t.Context(), tpm.Config{PEM: file, Device: s.emulator.Path, PIN: k.cfg.PIN, ParentPIN: k.cfg.ParentPIN})
		if err != nil {
			t.Fatal(err)
		}
		s.write(k.name+".crt", signertest.CertPEM(ca.Issue(t, opened, nil)))
		if err := opened.Close(); err != nil {
			t.Fatal(err)
		}
	}
	sealed, err := tpm.Seal(t.Context(), tpm.CreateConfig{Device: s.emulator.Path, PIN: answer("seal-1")}, []byte("key-7531"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("sealed", sealed)
	_, session, stop, err := clitest.RunEmulator(s.dir, "--trust-anchor", "ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	s.session = strings.Fields(session)
	return s
}

// ownSession starts a process without a terminal.
var ownSession = &syscall.SysProcAttr{Setsid: true}

// identities are the flags of keys whose passwords are wrong, forgotten or, in
// the first two, right.
var triesIdentities = []struct {
	name  string
	right bool
	flags []string
}{
	{"right password", true, []string{"--certificate", "key.crt", "--private-key", "key", "--pin-source", "file:pin"}},
	{"right password of the parent", true, []string{"--certificate", "below.crt", "--private-key", "tpm:path=below;parent-auth-source=file:parent"}},
	{"wrong password", false, []string{"--certificate", "key.crt", "--private-key", "key", "--pin-source", "file:wrong"}},
	{"wrong password in the reference", false, []string{"--certificate", "key.crt", "--private-key", "tpm:path=key;pin-source=file:wrong"}},
	{"forgotten password", false, []string{"--certificate", "key.crt", "--private-key", "key"}},
	{"denied password", false, []string{"--certificate", "key.crt", "--private-key", "key", "--no-tpm-key-password"}},
	{"wrong password of the parent", false, []string{"--certificate", "below.crt", "--private-key", "tpm:path=below;parent-auth-source=file:wrong"}},
	{"forgotten password of the parent", false, []string{"--certificate", "below.crt", "--private-key", "tpm:path=below"}},
	{"wrong password of a sealed one", false, []string{"--certificate", "key.crt", "--private-key", "key", "--pin-source", "tpm:path=sealed;pin-source=file:wrong"}},
	{"forgotten password of a sealed one", false, []string{"--certificate", "key.crt", "--private-key", "key", "--pin-source", "tpm:path=sealed"}},
}

// TestSoakTries starts every command again and again with wrong and forgotten
// passwords. None uses the last try before the TPM locks, and each says what is
// wrong. With HOLDFAST_SOAK, such as 10m, each command is started 20 times, and
// serve runs for that time.
func TestSoakTries(t *testing.T) {
	serveTime, starts := 3*time.Second, 3
	if text := os.Getenv("HOLDFAST_SOAK"); text != "" {
		var err error
		if serveTime, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		starts = 20
	}
	s := newTriesScene(t)
	const most = 3
	s.tool("tpm2_dictionarylockout", "--setup-parameters", "--max-tries", strconv.Itoa(most), "--recovery-time", "10000", "--lockout-recovery-time", "10000")
	repeat := func(t *testing.T, right bool, run func() (code int, stderr string)) {
		t.Helper()
		s.reset()
		for range starts {
			code, stderr := run()
			if n := s.counted(); n >= most {
				t.Fatalf("%d of %d tries used\n%s", n, most, stderr)
			}
			if right != (code == 0) {
				t.Fatalf("exit code %d\n%s", code, stderr)
			}
			if !right && (!strings.Contains(stderr, "password") || !strings.Contains(stderr, "hint: ")) {
				t.Errorf("does not say which password: %s", stderr)
			}
		}
	}
	for _, id := range triesIdentities {
		for _, command := range []struct {
			name  string
			first []string
			last  []string
		}{
			{"credential-process", []string{"credential-process"}, nil},
			{"update", []string{"update", "--once", "--profile", "app"}, nil},
			{"exec", []string{"exec"}, []string{"--", "true"}},
		} {
			t.Run(command.name+"/"+id.name, func(t *testing.T) {
				repeat(t, id.right, func() (int, string) {
					return s.holdfast(slices.Concat(command.first, id.flags, s.session, command.last)...)
				})
			})
		}
	}
	n := 0
	for _, auth := range []struct {
		name, attribute string
		right           bool
	}{{"right", ";parent-auth-source=file:parent", true}, {"wrong", ";parent-auth-source=file:wrong", false}, {"forgotten", "", false}} {
		create := func(args ...string) func() (int, string) {
			return func() (int, string) {
				n++
				args[2] = fmt.Sprintf("tpm:path=new%d;parent=0x81000001%s", n, auth.attribute)
				return s.holdfast(args...)
			}
		}
		t.Run("generate/"+auth.name, func(t *testing.T) { repeat(t, auth.right, create("generate", "--private-key", "")) })
		t.Run("seal/"+auth.name, func(t *testing.T) {
			repeat(t, auth.right, create("seal", "--to", "", "--secret-source", "file:pin"))
		})
	}
	t.Run("list", func(t *testing.T) {
		repeat(t, true, func() (int, string) { return s.holdfast("list", "--in", "tpm:") })
	})
	t.Run("serve", func(t *testing.T) { s.serve(t, serveTime, starts, most) })
}

// serve leaves a process with each identity serving, and starts it again when it
// ends, as a service manager does.
func (s *triesScene) serve(t *testing.T, length time.Duration, starts, most int) {
	s.reset()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var all sync.WaitGroup
	for _, id := range triesIdentities {
		all.Go(func() {
			for n := 0; n < starts && ctx.Err() == nil; n++ {
				cmd := exec.CommandContext(ctx, "holdfast", slices.Concat([]string{"serve", "--port", "0"}, id.flags, s.session)...)
				cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
				cmd.Dir, cmd.Env, cmd.SysProcAttr = s.dir, append(s.env(), "XDG_RUNTIME_DIR="+s.dir), ownSession
				if out, err := cmd.CombinedOutput(); err == nil && ctx.Err() == nil {
					t.Errorf("%s: serve ended\n%s", id.name, out)
				}
			}
		})
	}
	all.Wait()
	if n := s.counted(); n >= most {
		t.Fatalf("%d of %d tries used", n, most)
	}
}
