package renewing_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A killedPair is a pair whose renewals are killed, with the programs that they run.
// After each renewal the pair works.
type killedPair struct {
	*testing.T
	dir   string
	pair  []string             // the flags of the identity
	state string               // the file of the state
	files []string             // that a renewal replaces
	renew func(n int) []string // the command line of the n-th renewal

	n, killed int // how many renewals were started, and killed
}

// start starts the next renewal, as an argument of a program if there is one.
func (p *killedPair) start(program ...string) *exec.Cmd {
	p.Helper()
	cmd := clitest.PlainCommand(p, p.renew(p.n)...)
	p.n++
	if len(program) > 0 {
		cmd.Path, cmd.Args = program[0], slices.Concat(program, []string{cmd.Path}, cmd.Args[1:])
	}
	cmd.Dir, cmd.Stderr = p.dir, new(strings.Builder)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		p.Fatal(err)
	}
	return cmd
}

// check examines the pair after a renewal, which has succeeded or was killed, and
// reports whether it was killed.
func (p *killedPair) check(cmd *exec.Cmd, err error) (killed bool) {
	p.Helper()
	if killed = cmd.ProcessState.ExitCode() == -1; killed {
		p.killed++
	} else if err != nil {
		p.Fatalf("a renewal after %d kills: %v: %s", p.killed, err, cmd.Stderr)
	}
	run(p.T, p.dir, append([]string{"verify", "--trust-anchor", "ca/ca.pem"}, p.pair...)...)
	return killed
}

// killBeforeWrites kills renewals before they replace the state and each file for the
// first time.
func (p *killedPair) killBeforeWrites() {
	p.Helper()
	strace := signertest.Require(p, "strace", "strace")
	const calls = "?renameat,?renameat2"
	for i, file := range append([]string{p.state}, p.files...) {
		cmd := p.start(strace, "-f", "-qq", "-o", "/dev/null", "-P", file, "-e", "trace="+calls, "-e", "inject="+calls+":signal=KILL:when=1")
		if !p.check(cmd, cmd.Wait()) {
			p.Fatalf("a renewal was not killed before it replaced %s: %s", file, cmd.Stderr)
		}
		want := unused
		if i == 0 {
			want = nothing
		}
		if left := p.left(); left != want {
			p.Errorf("a renewal that was killed before it replaced %s left %s, want %s", file, left, want)
		}
	}
}

// killAtRandom kills so many renewals, and more if none was killed between its request
// and the certificate.
func (p *killedPair) killAtRandom(whole time.Duration, kills int) {
	p.Helper()
	left := make(map[string]int)
	for kills += p.killed; p.killed < kills || left[requested] == 0; {
		begin := time.Now()
		cmd := p.start()
		timer := time.AfterFunc(rand.N(whole), func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) })
		err := cmd.Wait()
		timer.Stop()
		took := time.Since(begin)
		if p.check(cmd, err) { // whole follows the speed of the machine
			whole += whole / 8
			left[p.left()]++
		} else {
			whole = min(whole, took)
		}
	}
	p.Logf("of %d renewals, %d were killed; those at random times left %v", p.n, p.killed, left)
}

// kill kills renewals before each write, and so many at random times.
func (p *killedPair) kill(random int) {
	p.Helper()
	begin := time.Now()
	cmd := p.start()
	err := cmd.Wait()
	whole := time.Since(begin)
	if p.check(cmd, err) {
		p.Fatal("the first renewal was killed")
	}
	p.killBeforeWrites()
	p.killAtRandom(whole, random)
}

// Renewals that are killed leave one of these in the state.
const (
	nothing   = "nothing"
	requested = "a request"
	unused    = "a certificate that is not in use"
)

// left returns what is in the state.
func (p *killedPair) left() string {
	p.Helper()
	data, err := os.ReadFile(filepath.Join(p.dir, p.state))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.Fatal(err)
	}
	switch {
	case bytes.Contains(data, []byte(`"obtained_at": "`)):
		return unused
	case bytes.Contains(data, []byte(`"pending": {`)):
		return requested
	}
	return nothing
}
