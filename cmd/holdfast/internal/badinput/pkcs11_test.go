//go:build linux && cgo

package badinput

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"

	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A tokenInput is a command line whose key is on a SoftHSM token. Its args
// follow tokenFlags; {dir}, {module} and {spy} stand for the scene's folder,
// SoftHSM's module and OpenSC's, which writes down what is called of it.
type tokenInput struct {
	badInput
	logins int            // calls of C_Login
	after  func(*scene)   // looks at the token
	plain  bool           // nothing is written down
	pasted [][]string     // what follows tokenFlags, and works for each reference that the hint lists
	calls  map[string]int // further calls, of input that is good
}

var tokenFlags = []string{
	"--certificate", "pkcs11:token=app;object=app", "--private-key=", "--pkcs11-lib", "{spy}", "--pin-source", "env:PIN",
}

// tokens are what makes scenes with tokens.
type tokens struct {
	program     string // with cgo, or without it and with the helper beside it
	helper      string // "": not needed
	module, spy string
	fault       string // passes on to module, with faults
	fixture     string // the folder of a token with the good key and certificate
}

var spies = []string{"/usr/lib/*/pkcs11-spy.so", "/usr/lib64/pkcs11-spy.so", "/usr/lib64/pkcs11/pkcs11-spy.so", "/usr/lib/pkcs11-spy.so", "/usr/lib/pkcs11/pkcs11-spy.so"}

func newTokens(t *testing.T, p *pki, base string, cgo bool) *tokens {
	signertest.Require(t, "softhsm", "softhsm2-util")
	signertest.Require(t, "opensc", "pkcs11-tool")
	k := &tokens{program: filepath.Join(base, "holdfast"), module: pkcs11test.New(t).Module, fixture: filepath.Join(base, "fixture")}
	for _, pattern := range spies {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			k.spy = found[0]
		}
	}
	if k.spy == "" {
		t.Fatalf("pkcs11-tool is there, but none of %v", spies)
	}
	k.fault = clitest.FaultyModule(t, base)
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", k.program, clitest.Package)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if cgo {
		build.Env = append(os.Environ(), "CGO_ENABLED=1")
	}
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	s := &scene{TB: t, pki: p, dir: k.fixture}
	if !cgo {
		helper, err := os.ReadFile(pkcs11test.Helper(t))
		s.must(err)
		k.helper = filepath.Join(base, "holdfast-pkcs11")
		s.must(os.WriteFile(k.helper, helper, 0o755))
	}
	s.must(os.Mkdir(s.dir, 0o755))
	s.must(os.Mkdir(s.path("tokens"), 0o755))
	k.configure(s)
	steps(initToken("app"), importKey("app", "app", "01", p.key), importCert("app", "app", "01", p.leaf.Raw))(s)
	return k
}

func (k *tokens) configure(s *scene) {
	s.write("softhsm2.conf", []byte("directories.tokendir = "+s.path("tokens")+"\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"))
	s.must(os.Symlink(k.module, s.path("softhsm.so")))
	s.must(os.Symlink(k.spy, s.path("spy.so")))
	s.must(os.Symlink(k.program, s.path("holdfast")))
	if k.helper != "" {
		s.must(os.Symlink(k.helper, s.path("holdfast-pkcs11")))
	}
}

func (k *tokens) scene(t *testing.T, p *pki, dir string) *scene {
	s := newScene(t, p, dir)
	s.must(os.CopyFS(s.path("tokens"), os.DirFS(filepath.Join(k.fixture, "tokens"))))
	k.configure(s)
	return s
}

// fill puts in what placeholders stand for.
func (k *tokens) fill(s *scene, c tokenInput) tokenInput {
	place := strings.NewReplacer("{dir}", s.dir, "{module}", k.module, "{spy}", k.spy, "{fault}", k.fault)
	fill := func(all []string) (out []string) {
		for _, v := range all {
			out = append(out, place.Replace(v))
		}
		return out
	}
	c.args = fill(append(append([]string(nil), tokenFlags...), c.args...))
	c.env = fill(append([]string{
		"SOFTHSM2_CONF={dir}/softhsm2.conf", "PKCS11SPY={module}", "PKCS11SPY_OUTPUT={dir}/calls", "PIN=" + pkcs11test.PIN,
	}, c.env...))
	c.culprit, c.hint = place.Replace(c.culprit), place.Replace(c.hint)
	return c
}

// called counts the calls of each function so far.
var called = regexp.MustCompile(`(?m)^\d+: (C_\w+)\r?$`)

func (s *scene) calls() map[string]int {
	n := make(map[string]int)
	data, _ := os.ReadFile(s.path("calls")) // there are none
	for _, m := range called.FindAllSubmatch(data, -1) {
		n[string(m[1])]++
	}
	return n
}

// pastable matches the references in a hint.
var pastable = regexp.MustCompile(`pkcs11:[^\s']+`)

// TestBadInputPKCS11 runs the real program over SoftHSM.
func TestBadInputPKCS11(t *testing.T) { badTokens(t, true) }

// TestBadInputPKCS11InHelper runs the program without cgo, whose modules run in the
// helper process.
func TestBadInputPKCS11InHelper(t *testing.T) { badTokens(t, false) }

func badTokens(t *testing.T, cgo bool) {
	forTokens(t, cgo, tokenCases, func(t *testing.T, k *tokens, s *scene, c tokenInput) {
		r := s.run(k.program, c.badInput)
		r.check(t, c.badInput, append(s.secrets(c.badInput), pkcs11test.PIN))
		n := s.calls()
		if n["C_Login"] != c.logins || n["C_Initialize"] > 1 {
			t.Errorf("%d calls of C_Login, want %d; %d of C_Initialize, want 1 at most", n["C_Login"], c.logins, n["C_Initialize"])
		}
		if c.after != nil {
			c.after(s)
		}
		if c.pasted == nil {
			return
		}
		_, hint, _ := strings.Cut(r.stderr, "\nhint: ")
		refs := pastable.FindAllString(hint, -1)
		if len(refs) != 2 {
			t.Errorf("the hint lists %q, want two references", refs)
		}
		for _, ref := range refs {
			for _, args := range c.pasted {
				again := c
				again.setup, again.serve, again.sent = nil, answer(created), 1
				again.args = append([]string{"--private-key=", "--pin-source", "env:PIN"}, args...)
				for i := range again.args {
					again.args[i] = strings.ReplaceAll(again.args[i], "{ref}", ref)
				}
				s.run(k.program, again.badInput).checkGood(t)
			}
		}
	})
}

// TestGoodInputPKCS11 counts what command lines that are good do to a token.
func TestGoodInputPKCS11(t *testing.T) { goodTokens(t, true) }

// TestGoodInputPKCS11InHelper: the same with the helper process.
func TestGoodInputPKCS11InHelper(t *testing.T) { goodTokens(t, false) }

func goodTokens(t *testing.T, cgo bool) {
	forTokens(t, cgo, goodTokenCases, func(t *testing.T, k *tokens, s *scene, c tokenInput) {
		c.serve = answer(created)
		s.run(k.program, c.badInput).checkGood(t)
		n := s.calls()
		if c.plain {
			return
		}
		for name, want := range map[string]int{"C_Login": c.logins, "C_Initialize": 1, "C_Finalize": 1, "C_GetSlotList": 2} {
			if more, ok := c.calls[name]; ok {
				want = more
			}
			if n[name] != want {
				t.Errorf("%d calls of %s, want %d", n[name], name, want)
			}
		}
		if n["C_OpenSession"] != n["C_CloseSession"] {
			t.Errorf("%d sessions opened, %d closed", n["C_OpenSession"], n["C_CloseSession"])
		}
	})
}

func forTokens(t *testing.T, cgo bool, list func(*testing.T, *pki) []tokenInput, check func(*testing.T, *tokens, *scene, tokenInput)) {
	base := t.TempDir()
	for _, dir := range []string{base, filepath.Dir(base)} {
		if err := os.Chmod(dir, 0o755); err != nil { // for badInput.nobody
			t.Fatal(err)
		}
	}
	p := newPKI(t)
	k := newTokens(t, p, base, cgo)
	cases := list(t, p)
	slots := make(chan struct{}, badInputBound)
	start := time.Now()
	t.Run("cases", func(t *testing.T) {
		seen := make(map[string]bool)
		for i, c := range cases {
			if seen[c.name] {
				t.Errorf("two cases have the name %q", c.name)
			}
			seen[c.name] = true
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				s := k.scene(t, p, filepath.Join(base, strconv.Itoa(i)))
				check(t, k, s, k.fill(s, c))
			})
		}
	})
	t.Logf("%d cases in %v", len(cases), time.Since(start).Round(time.Second))
}
