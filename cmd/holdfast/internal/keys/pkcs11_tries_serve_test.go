//go:build linux && cgo

package keys_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A tokenService is serve with two roles, whose keys are on one token and have
// the same PIN file.
type tokenService struct {
	*tokenScene
	served     *clitest.Served
	up         *clitest.Upstream
	generation int // of the rules
}

var tokenRoles = []string{"a", "b"}

func newTokenService(t *testing.T, shared *tokenScene, ca *signertest.CA, shown int) *tokenService {
	t.Helper()
	s := &tokenService{tokenScene: shared.copy(t), up: clitest.NewUpstream(t, ca.Root(), 6*time.Second)}
	var roles strings.Builder
	for i, name := range tokenRoles {
		fmt.Fprintf(&roles, "[[role]]\nname = %q\ncertificate = %q\npin_source = \"file:pin\"\n", name, s.refs[i])
		for _, key := range []string{"endpoint", "trust-anchor-arn", "profile-arn", "role-arn"} {
			fmt.Fprintf(&roles, "%s = %q\n", strings.ReplaceAll(key, "-", "_"), s.up.Args[slices.Index(s.up.Args, "--"+key)+1])
		}
	}
	s.write("roles.toml", roles.String())
	s.write("pin", pkcs11test.PIN+"\n")
	const most = 3
	s.reset(most, shown)
	return s
}

func (s *tokenService) serve() {
	s.Helper()
	s.served = clitest.StartServe(s, s.dir, s.env, "--config", "roles.toml", "--status-listen", "127.0.0.1:0")
	clitest.WaitReady(s, s.served)
}

// alone tests another long-running command with the first role: it uses one try
// after its PIN file has become wrong, and continues when the file is corrected.
func (s *tokenService) alone(args ...string) {
	cmd := exec.CommandContext(s.Context(), "holdfast", append([]string{args[0], "--config", "roles.toml", "--role", tokenRoles[0]}, args[1:]...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Dir, cmd.Env, cmd.SysProcAttr = s.dir, append([]string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit}, s.env...), ownSession
	log := new(clitest.LockedBuffer)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = cmd.Wait()
		if s.Failed() {
			s.Logf("the log:\n%s", log)
		}
	})
	sessions := func() int64 { return s.up.Sessions.Load() }
	clitest.Eventually(s, "a session", func() bool { return sessions() > 0 })
	s.write("pin", wrongPIN)
	s.write("rules", "1 C_Sign 1 1 remove 0\n")
	clitest.Eventually(s, "failed renewals", func() bool { return strings.Count(log.String(), "credentials were not renewed") > 2 })
	s.wantTries(1, 1)
	before := sessions()
	s.write("pin", pkcs11test.PIN)
	clitest.Eventually(s, "a session with the corrected PIN", func() bool { return sessions() > before })
	s.wantTries(0, 1)
}

// metric returns a number for each role.
func (s *tokenService) metric(name string) (all []int) {
	s.Helper()
	for _, role := range tokenRoles {
		n, err := strconv.Atoi(clitest.Metric(s, s.served, fmt.Sprintf("holdfast_%s{role=%q}", name, role)))
		if err != nil {
			s.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

// increases waits until a metric of all roles is larger than before.
func (s *tokenService) increases(name string, before []int) {
	s.Helper()
	clitest.Eventually(s, name, func() bool {
		for i, n := range s.metric(name) {
			if n <= before[i] {
				return false
			}
		}
		return true
	})
}

// hangup reloads the keys of all roles and waits until that has failed.
func (s *tokenService) hangup() {
	s.Helper()
	before := s.metric("reload_failures_total")
	s.signal()
	s.increases("reload_failures_total", before)
}

func (s *tokenService) signal() {
	s.Helper()
	if err := s.served.Process.Signal(syscall.SIGHUP); err != nil {
		s.Fatal(err)
	}
}

// recovers waits until all roles have new credentials.
func (s *tokenService) recovers() {
	s.Helper()
	before := s.metric("renewals_total")
	s.increases("renewals_total", before)
	clitest.WaitReady(s, s.served)
}

// wantTries checks how many tries are used, and how many wrong PINs there were.
func (s *tokenService) wantTries(used, all int) {
	s.Helper()
	if u, a := s.tries(); u != used || a != all {
		s.Errorf("%d tries are used after %d wrong PINs, want %d and %d", u, a, used, all)
	}
}

// soak changes the PIN file for some time. After it has become wrong and the token
// was removed, serve uses one try, whatever it does after that, and with several
// keys. When the file is corrected, it continues without a signal. A second wrong
// PIN in the file uses a second try, and nothing but a person uses the third.
// shows says whether the token shows that there were wrong PINs.
func (s *tokenService) soak(length time.Duration, shows bool) {
	round := 0
	for end := time.Now().Add(length); round == 0 || time.Now().Before(end); round++ {
		s.write("pin", fmt.Sprintln(wrongPIN, round))
		s.loseToken()
		s.wantTries(1, round+1)
		for range 3 {
			before := s.metric("renewal_failures_total")
			s.hangup()
			s.increases("renewal_failures_total", before)
		}
		s.wantTries(1, round+1)
		s.write("pin", pkcs11test.PIN+"\n")
		s.recovers()
		s.wantTries(0, round+1)
	}
	s.Logf("%d wrong PINs, %v renewals, %v of them failed", round, s.metric("renewals_total"), s.metric("renewal_failures_total"))

	s.write("pin", "1"+wrongPIN)
	s.loseToken()
	s.wantTries(1, round+1)
	for i := range 3 {
		s.write("pin", fmt.Sprint(wrongPIN, i))
		if i == 0 { // a reload can come while the token is still away
			clitest.Eventually(s, "the second try", func() bool {
				s.hangup()
				used, _ := s.tries()
				return used == 2
			})
		}
		s.hangup()
		s.wantTries(2, round+2)
	}
	s.write("pin", pkcs11test.PIN+"\n")
	s.hangup()
	s.wantTries(2, round+2)
	if !shows { // nor that a person has logged in
		return
	}
	cmd := exec.Command(signertest.Require(s, "opensc", "pkcs11-tool"), "--module", s.module, "--token-label", s.label, "--login", "--pin", pkcs11test.PIN, "--list-objects")
	cmd.Env = s.env
	if out, err := cmd.CombinedOutput(); err != nil {
		s.Fatalf("%v\n%s", err, out)
	}
	s.signal()
	s.recovers()
	s.wantTries(0, round+2)
}

// loseToken waits until a signature of each role has failed because the token was
// removed.
func (s *tokenService) loseToken() {
	s.Helper()
	before := s.metric("renewal_failures_total")
	s.generation++
	s.write("rules", fmt.Sprintf("%d C_Sign 1 1 remove 0\n", s.generation))
	s.increases("renewal_failures_total", before)
}
