// Package program obtains certificates with a program of the user, such as a
// script for a CA that no other package knows.
//
// The program gets the certificate request as PEM on standard input, and writes
// the certificate and those of its issuers as PEM to standard output. It is
// started without a shell. These exit codes have a meaning:
//
//	0  the certificate was issued
//	2  the CA refuses the request
//	3  the CA cannot be reached
//	5  the CA will issue the certificate later; the first line of standard output
//	   can be the seconds to wait
//
// Any other one is a failure, after which the same request is sent again. The
// variables HOLDFAST_SUBJECT, HOLDFAST_NOT_AFTER, HOLDFAST_TOKEN and
// HOLDFAST_ATTEMPT describe the request. Standard error goes to the log.
package program

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/processgroup"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/signer"
)

// The exit codes with a meaning.
const (
	exitRejected    = 2
	exitUnreachable = 3
	exitWait        = 5
	exitSSH         = 255 // of ssh: there is no connection (ssh(1))
)

// maxOutput bounds what a program may write, in bytes.
const maxOutput = 1 << 20

var errOutput = errors.New("it writes more than 1024 KiB") // maxOutput

// DefaultTimeout is how long a program may run.
const DefaultTimeout = 2 * time.Minute

// A Program is a way to obtain certificates. It is safe for concurrent use if the
// program is.
type Program struct {
	Args    []string      // the program and its arguments
	Env     []string      // nil: none but the variables of the package comment
	Timeout time.Duration // 0: DefaultTimeout
	Logger  *slog.Logger  // nil: discard

	// Signed sends the request as [renew.Request.Signed] returns it, such as to
	// holdfast ca issue --renew - on another machine.
	Signed bool
}

// Renew implements [renew.Way].
func (p Program) Renew(ctx context.Context, r renew.Request) ([]*x509.Certificate, error) {
	stdin, err := p.stdin(ctx, r)
	if err != nil {
		return nil, err
	}
	stdout, why, err := p.run(ctx, stdin, variables(r))
	if err != nil {
		return nil, p.explain(r, err, string(stdout), why)
	}
	certs, err := renew.ParsePEM(stdout)
	if err != nil {
		return nil, signer.WithHint(fmt.Errorf("%s: its output %w", p.Args[0], err), "the program must write only certificates in PEM to standard output")
	}
	return certs, nil
}

func (p Program) stdin(ctx context.Context, r renew.Request) ([]byte, error) {
	if p.Signed {
		return r.Signed(ctx, time.Now())
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: r.CSR}), nil
}

// Run runs the program with further variables. Its output goes to the log.
func (p Program) Run(ctx context.Context, env []string) error {
	stdout, why, err := p.run(ctx, nil, env)
	p.log(string(stdout))
	var exit *exec.ExitError
	switch {
	case notStarted(err):
		return signer.WithHint(err, hintStart)
	case errors.As(err, &exit) && why.text != "":
		return fmt.Errorf("%s: %w: %s", p.Args[0], err, why.text)
	case err != nil:
		return fmt.Errorf("%s: %w", p.Args[0], err)
	}
	return nil
}

// run runs the program. why is the last line on standard error.
func (p Program) run(ctx context.Context, stdin []byte, env []string) (output []byte, why reason, err error) {
	if len(p.Args) == 0 {
		return nil, reason{}, errors.New("no program is given")
	}
	timeout := p.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("the program did not end within %v", timeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Args[0], p.Args[1:]...)
	cmd.Env = append(p.Env[:len(p.Env):len(p.Env)], env...)
	cmd.Stdin = bytes.NewReader(stdin)
	stdout, stderr := &limited{cancel: cancel}, &limited{cancel: cancel}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = time.Second // its children can have the pipes open
	processgroup.Own(cmd)
	err = cmd.Run()
	p.log(string(stderr.text))
	if errors.Is(err, exec.ErrWaitDelay) { // it has succeeded, and left a child with its output
		err = nil
	}
	switch {
	case stdout.full || stderr.full:
		err = errOutput
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return stdout.text, lastLine(string(stderr.text)), err
}

func variables(r renew.Request) []string {
	env := []string{"HOLDFAST_TOKEN=" + r.Token, "HOLDFAST_ATTEMPT=" + strconv.Itoa(r.Attempt)}
	if chain := r.Old.Chain(); len(chain) > 0 {
		env = append(env, "HOLDFAST_SUBJECT="+chain[0].Subject.String(), "HOLDFAST_NOT_AFTER="+chain[0].NotAfter.UTC().Format(time.RFC3339))
	}
	return env
}

func (p Program) log(text string) {
	if p.Logger == nil {
		return
	}
	n := 0
	for line := range strings.Lines(text) {
		if n++; n <= maxLines {
			p.Logger.Info("the program for renewals writes", "program", p.Args[0], "line", shortened(strings.TrimRight(line, "\r\n")))
		}
	}
	if n > maxLines {
		p.Logger.Info("the program for renewals writes more lines, which are not logged", "program", p.Args[0], "lines", n-maxLines)
	}
}

// maxLines bounds the lines of one run in the log.
const maxLines = 50

const hintStart = "check the name of the program, and that this user may run it"

// notStarted reports whether the program could not be started.
func notStarted(err error) bool {
	return errors.As(err, new(*exec.Error)) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

// explain returns the error for an exit code.
func (p Program) explain(r renew.Request, err error, stdout string, reason reason) error {
	var exit *exec.ExitError
	switch {
	case len(p.Args) == 0:
		return err
	case notStarted(err):
		return signer.WithHint(err, hintStart)
	case errors.Is(err, errOutput):
		return signer.WithHint(fmt.Errorf("%s: %w", p.Args[0], err), "correct the program; it must write only certificates in PEM to standard output, and some lines to standard error")
	case !errors.As(err, &exit):
		return fmt.Errorf("%s: %w", p.Args[0], err)
	}
	if reason.text != "" {
		reason.text = ": " + reason.text
	}
	code := exit.ExitCode()
	if code == exitSSH && strings.TrimSuffix(filepath.Base(p.Args[0]), ".exe") == "ssh" {
		code = exitUnreachable
	}
	switch code {
	case exitRejected:
		hint := cmp.Or(reason.hint, "the next try makes another request; the log of the CA can have the reason")
		if r.Expired(time.Now()) && (reason.hint == "" || strings.Contains(reason.text, "expired")) {
			hint = renew.HintExpired
		}
		return signer.WithHint(fmt.Errorf("%s: %w%s", p.Args[0], renew.ErrRejected, reason.text), hint)
	case exitUnreachable:
		return signer.WithHint(fmt.Errorf("%s: %w%s", p.Args[0], renew.ErrUnreachable, reason.text), cmp.Or(reason.hint, "the next try sends the same request"))
	case exitWait:
		first, _, _ := strings.Cut(stdout, "\n")
		seconds, _ := strconv.ParseUint(strings.TrimSpace(first), 10, 31)
		return &renew.WaitError{After: time.Duration(seconds) * time.Second}
	}
	err = fmt.Errorf("%s: %w%s", p.Args[0], err, reason.text)
	if reason.hint != "" {
		err = signer.WithHint(err, reason.hint)
	}
	return err
}

// A reason is why a program failed.
type reason struct{ text, hint string }

// lastLine returns the last line of text that is not empty, shortened. Holdfast
// prints its name before an error, and a hint after it; that its CA refuses a renewal is
// what the exit code says.
func lastLine(text string) (r reason) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if n := len(lines); n > 1 {
		if hint, ok := strings.CutPrefix(lines[n-1], "hint: "); ok {
			r.hint, lines = shortened(hint), lines[:n-1]
		}
	}
	text = strings.TrimPrefix(lines[len(lines)-1], "holdfast: ")
	r.text = shortened(strings.TrimPrefix(text, "the renewal is refused: "))
	return r
}

func shortened(line string) string {
	const most = 200
	if len(line) > most {
		return line[:most] + "…"
	}
	return line
}

// A limited buffer ends the program when it is full. It embeds no bytes.Buffer,
// whose ReadFrom would have no limit.
type limited struct {
	text   []byte
	full   bool
	cancel func()
}

func (l *limited) Write(b []byte) (int, error) {
	if len(l.text)+len(b) > maxOutput {
		l.full = true
		l.cancel()
		return 0, errors.New("too much output")
	}
	l.text = append(l.text, b...)
	return len(b), nil
}
