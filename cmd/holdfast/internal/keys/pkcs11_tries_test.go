//go:build linux && cgo

package keys_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The flags of PKCS #11 about tries.
const (
	flagCountLow = 0x10000
	flagFinalTry = 0x20000
	flagLocked   = 0x40000
)

// tryModules are modules that show tries in different ways, and how many tries a
// wrong PIN uses up in so many starts. A token that shows nothing cannot tell one
// start about another.
var tryModules = []struct {
	name  string
	shown int
	used  func(starts int) int
}{
	{"all flags", flagCountLow | flagFinalTry | flagLocked, func(int) int { return 1 }},
	{"not the last try", flagCountLow, func(int) int { return 1 }},
	{"no flags", 0, func(starts int) int { return starts }},
}

// A tokenScene is a token with two keys, and a module that counts wrong PINs.
type tokenScene struct {
	testing.TB
	dir    string
	module string
	label  string   // of the token
	refs   []string // of the keys with their certificates
	env    []string
}

// newTokenScene makes a token whose keys have certificates of ca.
func newTokenScene(t testing.TB, ca *signertest.CA) *tokenScene {
	t.Helper()
	ids := clitest.TokenIdentities(t, ca)
	s := &tokenScene{TB: t, dir: ids[0].Dir}
	s.module = clitest.FaultyModule(t, s.dir)
	for _, id := range ids {
		uri, err := pkcs11.ParseURI(id.Flags[slices.Index(id.Flags, "--certificate")+1])
		if err != nil {
			t.Fatal(err)
		}
		s.env = append(slices.Clone(id.Env), "FAULT_MODULE="+uri.ModulePath)
		uri.ModulePath, s.label = s.module, uri.Token
		s.refs = append(s.refs, uri.String())
	}
	s.setPlace()
	return s
}

// copy returns a scene with a copy of the token, which no other test uses: each
// login to SoftHSM writes the token's file, and another process that reads it at
// that moment can find no token.
func (s *tokenScene) copy(t testing.TB) *tokenScene {
	t.Helper()
	another := &tokenScene{TB: t, dir: t.TempDir(), module: s.module, label: s.label, refs: s.refs}
	conf := os.Getenv("SOFTHSM2_CONF")
	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	shared, own := filepath.Dir(conf), another.path("softhsm")
	if err := os.CopyFS(own, os.DirFS(shared)); err != nil {
		t.Fatal(err)
	}
	another.write("softhsm2.conf", strings.ReplaceAll(string(text), shared, own))
	another.env = append(slices.Clone(s.env), "SOFTHSM2_CONF="+another.path("softhsm2.conf"))
	another.setPlace()
	return another
}

func (s *tokenScene) setPlace() {
	s.env = append(slices.Clip(s.env), "FAULT_TRIES="+s.path("tries"), "FAULT_RULES="+s.path("rules"), "PIN="+wrongPIN, "HOME="+s.dir)
	s.write("wrong", wrongPIN+"\n")
	s.write("right", pkcs11test.PIN+"\n")
}

const wrongPIN = "97531042"

func (s *tokenScene) path(name string) string { return filepath.Join(s.dir, name) }

// write replaces a file as a whole.
func (s *tokenScene) write(name, text string) {
	s.Helper()
	if err := os.WriteFile(s.path(name+".new"), []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
	if err := os.Rename(s.path(name+".new"), s.path(name)); err != nil {
		s.Fatal(err)
	}
}

// reset makes a token of which no try is used.
func (s *tokenScene) reset(most, shown int) {
	s.Helper()
	s.write("tries", fmt.Sprintf("0 %d 0 %#x\n", most, shown))
}

// tries returns how many tries are used, and how many wrong PINs there were.
func (s *tokenScene) tries() (wrong, all int) {
	s.Helper()
	var most int
	data, err := os.ReadFile(s.path("tries"))
	if err != nil {
		s.Fatal(err)
	}
	if _, err := fmt.Sscan(string(data), &wrong, &most, &all); err != nil {
		s.Fatalf("%v in %q", err, data)
	}
	return wrong, all
}

// holdfast runs the program without a terminal.
func (s *tokenScene) holdfast(args ...string) (code int, stderr string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "holdfast", args...)
	cmd.Dir, cmd.SysProcAttr = s.dir, ownSession
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit}, s.env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		s.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), errs.String()
}

// TestSoakTokenTries starts every command again and again with wrong, forgotten
// and missing PINs of a token, while serve runs with PINs that change. With
// HOLDFAST_SOAK, such as 10m, each command is started 20 times, and serve runs for
// that time.
func TestSoakTokenTries(t *testing.T) {
	length, starts, soak := time.Second, 2, os.Getenv("HOLDFAST_SOAK")
	if soak != "" {
		var err error
		if length, err = time.ParseDuration(soak); err != nil {
			t.Fatal(err)
		}
		starts = 20
	}
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	s := newTokenScene(t, ca)
	for _, m := range tryModules {
		t.Run("serve/"+m.name, func(t *testing.T) {
			t.Parallel()
			service := newTokenService(t, s, ca, m.shown)
			service.serve()
			service.soak(length, m.shown != 0)
		})
	}
	for _, args := range [][]string{{"update", "--profile", "app"}, {"exec", "--", "sleep", "1000"}} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			newTokenService(t, s, ca, tryModules[0].shown).alone(args...)
		})
	}
	t.Run("starts", func(t *testing.T) {
		t.Parallel()
		s.copy(t).restart(t, clitest.NewUpstream(t, ca.Root(), time.Hour).Args, starts, soak != "")
	})
}

// triesCommands are the commands that use a PIN. The flags follow the first
// argument.
var triesCommands = []struct {
	name, ref string
	session   bool // the command creates a session
	last      []string
}{
	{"credential-process", "--certificate", true, nil},
	{"update", "--certificate", true, []string{"--once", "--profile", "app"}},
	{"exec", "--certificate", true, []string{"--", "true"}},
	{"list", "--in", false, nil},
	{"generate", "--private-key", false, nil},
}

// restart starts each command several times. A wrong PIN uses one try, and no
// start after that uses another one, if the token shows that a try was used. Each
// start says what is wrong. Unless all is set, only the first module gets PINs of
// all kinds.
func (s *tokenScene) restart(t *testing.T, session []string, starts int, all bool) {
	generated, count := 0, 0
	for _, c := range triesCommands {
		for _, pin := range []struct {
			name  string
			query string // of the reference
			flags []string
			right bool
			wrong bool // a wrong PIN is sent, unless that is guarded
		}{
			{"right", "", []string{"--pin-source", "file:right"}, true, false},
			{"wrong", "", []string{"--pin-source", "file:wrong"}, false, true},
			{"wrong in a variable", "", []string{"--pin-source", "env:PIN"}, false, true},
			{"wrong source of the reference", "&pin-source=file:" + s.path("wrong"), nil, false, true},
			{"wrong value of the reference", "&pin-value=" + wrongPIN, nil, false, true},
			{"forgotten", "", nil, false, false},
			{"missing", "", []string{"--pin-source", "file:absent"}, false, false},
		} {
			for i, m := range tryModules {
				if i > 0 && (!pin.wrong || !all && pin.name != "wrong") {
					continue
				}
				t.Run(c.name+"/"+pin.name+"/"+m.name, func(t *testing.T) {
					s.reset(starts+3, m.shown)
					want := 0
					if pin.wrong {
						want = m.used(starts)
					}
					succeeds := pin.right || pin.name == "forgotten" && c.name == "list" // it lists what needs no PIN
					for range starts {
						ref := s.refs[0]
						if c.name == "generate" {
							generated++
							ref = strings.Replace(ref, "object=p256", fmt.Sprint("object=new", generated), 1)
						}
						args := append([]string{c.name, c.ref, ref + pin.query}, pin.flags...)
						if c.session {
							args = append(args, session...)
						}
						code, stderr := s.holdfast(append(args, c.last...)...)
						count++
						if succeeds != (code == 0) {
							t.Fatalf("exit code %d\n%s", code, stderr)
						}
						if !succeeds && (!strings.Contains(stderr, "PIN") || !strings.Contains(stderr, "hint: ") || strings.Contains(stderr, wrongPIN)) {
							t.Errorf("does not say what is wrong: %s", stderr)
						}
					}
					if _, all := s.tries(); all != want {
						t.Errorf("%d tries were used in %d starts, want %d", all, starts, want)
					}
				})
			}
		}
	}
	t.Logf("%d starts", count)
}
