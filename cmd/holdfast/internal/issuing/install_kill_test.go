//go:build linux && cgo

package issuing_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// killed are the system calls at which install is killed.
var killed = []string{"openat", "write", "fsync", "fchmod", "flock", "renameat", "rename", "unlinkat", "unlink", "ftruncate", "fcntl", "close"}

// killPoints returns the numbers of the calls of a system call before which install
// is killed. Threads count separately.
func killPoints(call string) []int {
	switch {
	case os.Getenv("HOLDFAST_CHAOS") != "":
		all := make([]int, 300)
		for i := range all {
			all[i] = i + 1
		}
		return all
	case call == "fcntl" || call == "close":
		return nil
	case call == "openat":
		return []int{4}
	}
	return []int{1, 2, 13}
}

// A killScene is what install works on, in a folder.
type killScene struct {
	*testing.T
	dir     string
	env     []string
	install []string // the command line of install
	verify  []string // and of verify
	at      string   // where install was killed

	// lost reports whether the device has destroyed itself, if not nil.
	lost func() bool
}

func (s *killScene) command(program string, args ...string) *exec.Cmd {
	s.Helper()
	cmd := exec.CommandContext(s.Context(), program, args...)
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), s.env...)
	return cmd
}

func (s *killScene) holdfast(args ...string) []byte {
	s.Helper()
	var stderr bytes.Buffer
	cmd := s.command("holdfast", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.Fatalf("%s: holdfast %s: %v\n%s", s.at, strings.Join(args, " "), err, &stderr)
	}
	return out
}

// serial returns the serial number of the certificate that is used.
func (s *killScene) serial() string {
	s.Helper()
	var result struct {
		OK          bool
		Certificate struct{ Serial string }
	}
	out := s.holdfast(slices.Concat(s.verify, []string{"--json"})...)
	if err := json.Unmarshal(out, &result); err != nil || !result.OK {
		s.Fatalf("%s: %v", out, err)
	}
	return result.Certificate.Serial
}

// killAt runs install and kills it before the n-th call of a system call. It
// reports whether there was such a call.
func (s *killScene) killAt(strace, call string, n int) bool {
	s.Helper()
	holdfast, err := exec.LookPath("holdfast")
	if err != nil {
		s.Fatal(err)
	}
	log := filepath.Join(s.TempDir(), "log")
	cmd := s.command(strace, slices.Concat([]string{"-f", "-qq", "-o", log, "-e", "trace=?" + call,
		"-e", fmt.Sprintf("inject=?%s:signal=KILL:when=%d", call, n), holdfast}, s.install)...)
	out, err := cmd.CombinedOutput()
	trace, logErr := os.ReadFile(log)
	if logErr != nil {
		s.Fatal(logErr)
	}
	if bytes.Contains(trace, []byte("killed by SIGKILL")) {
		return true
	}
	if err != nil {
		s.Fatalf("%s %d: %v\n%s", call, n, err, out)
	}
	return false
}

// run kills install at each point, in a fresh scene. It leaves the old certificate
// or the new one, and the next install succeeds.
func runKills(t *testing.T, prepare func(t *testing.T) *killScene) {
	strace := signertest.Require(t, "strace", "strace")
	kills := make(map[string]int)
	var old, renewed string // serial numbers
	lost := 0
	for _, call := range killed {
		for _, n := range killPoints(call) {
			s := prepare(t)
			if old == "" {
				old = s.serial()
			}
			if !s.killAt(strace, call, n) {
				break
			}
			kills[call]++
			s.at = fmt.Sprintf("killed before %s %d", call, n)
			if s.lost != nil && s.lost() {
				lost++
				continue
			}
			after := s.serial()
			if renewed == "" || after == old {
				s.holdfast(s.install...)
				renewed = s.serial()
			}
			if after != old && after != renewed || renewed == old {
				t.Errorf("%s %d: the certificate was %s, then %s, and is %s", call, n, old, after, renewed)
			}
			entries, err := os.ReadDir(s.dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if strings.HasSuffix(e.Name(), ".tmp") {
					t.Errorf("%s %d: %s is left", call, n, e.Name())
				}
			}
			if err := os.RemoveAll(s.dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("killed before: %v; lost: %d", kills, lost)
	if kills["openat"] == 0 || kills["write"] == 0 {
		t.Error("no kills")
	}
}

func TestChaosInstallInFile(t *testing.T) {
	t.Parallel()
	ca := signertest.NewCA(t, "root")
	key := signertest.Key(t, "p256")
	old, renewed := signertest.CertPEM(ca.Issue(t, key, nil)), signertest.CertPEM(ca.Issue(t, key, nil))
	for _, file := range []string{"cert.pem", "key.pem"} {
		t.Run(file, func(t *testing.T) {
			runKills(t, func(t *testing.T) *killScene {
				s := &killScene{T: t, dir: t.TempDir(), verify: []string{"verify", "--certificate", file, "--private-key", "key.pem"},
					install: []string{"install", "--certificate", "new.pem", "--private-key", "key.pem", "--to", file}}
				contents := map[string][]byte{
					"key.pem": signertest.KeyPEM(t, key), "new.pem": renewed,
				}
				contents[file] = append(contents[file], old...)
				for name, data := range contents {
					if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				return s
			})
		})
	}
}

func TestChaosInstallOnToken(t *testing.T) {
	setup := newTokenScene(t)
	setup.issue("old.pem", time.Hour)
	setup.issue("new.pem", time.Minute)
	setup.holdfast(setup.with("install", "--certificate", "old.pem")...)
	runKills(t, func(t *testing.T) *killScene {
		s := *setup
		s.killScene = &killScene{T: t, dir: t.TempDir(), install: setup.with("install", "--certificate", "new.pem", "--replace"),
			verify: []string{"verify", "--certificate", s.uri, "--pin-source", "file:pin"}}
		if err := os.CopyFS(s.dir, os.DirFS(setup.dir)); err != nil {
			t.Fatal(err)
		}
		s.move(s.dir)
		// SoftHSM rewrites the file of the token at each login, of any program,
		// and a kill at that moment leaves an empty file.
		s.lost = func() bool {
			files, err := filepath.Glob(filepath.Join(s.dir, "tokens", "*", "token.object"))
			if err != nil || len(files) != 1 {
				t.Fatalf("%q, %v", files, err)
			}
			info, err := os.Stat(files[0])
			return err == nil && info.Size() == 0
		}
		return s.killScene
	})
}
