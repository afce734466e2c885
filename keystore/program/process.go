package program

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/internal/processgroup"
	"github.com/holdfast-dev/holdfast/signer"
)

const (
	answerTime = 30 * time.Second // for one answer
	endTime    = 2 * time.Second  // for the end after standard input was closed
	pipeTime   = time.Second      // for pipes that a child of a program that has ended keeps open
)

// A process is a program that runs. One goroutine at a time uses it.
type process struct {
	stdin io.WriteCloser
	lines chan []byte   // of standard output
	eof   chan struct{} // closed after the last line
	ended chan struct{} // closed when the program has ended
	log   *stderrLog
	kill  func() // ends the program and its process group

	lastID  uint64
	readErr error // set before eof is closed
	exit    error // set before ended is closed; nil: exit code 0
}

// An endedError reports that the program has ended, or has closed its standard output,
// before it answered. Another one may answer.
type endedError struct{ how string }

func (e *endedError) Error() string { return "the program " + e.how }
func (e *endedError) Unwrap() error { return signer.ErrUnavailable }

// start starts the program. It does not search PATH.
func start(cfg Config) (*process, error) {
	if err := fileowner.CheckProgram(cfg.Path); err != nil {
		return nil, explainStart(err)
	}
	ctx, end := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, cfg.Path)
	cmd.Env = append([]string{}, cfg.Env...)
	cmd.WaitDelay = pipeTime
	p := &process{lines: make(chan []byte), eof: make(chan struct{}), ended: make(chan struct{}), log: &stderrLog{logger: cfg.logger(), path: cfg.Path}}
	cmd.Stderr = p.log
	processgroup.Own(cmd)
	p.kill = killer(cmd, end, p.ended)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		end()
		return nil, err
	}
	p.stdin = stdin
	stdout, child, err := os.Pipe()
	if err != nil {
		end()
		return nil, err
	}
	cmd.Stdout = child
	err = cmd.Start()
	child.Close()
	if err != nil {
		end()
		stdout.Close()
		return nil, explainStart(err)
	}
	go func() {
		p.readErr = p.read(ctx, stdout)
		close(p.eof)
	}()
	go func() {
		p.exit = processgroup.Wait(cmd)
		close(p.ended)
		select {
		case <-p.eof:
		case <-time.After(pipeTime):
		}
		end()
		stdout.Close()
	}()
	return p, nil
}

// killer returns a function that kills cmd with end, which ends its context, and waits until
// that is done: this process may end next.
func killer(cmd *exec.Cmd, end func(), ended <-chan struct{}) (kill func()) {
	killed := make(chan struct{})
	cancel := cmd.Cancel
	cmd.Cancel = func() error {
		defer close(killed)
		return cancel()
	}
	return func() {
		end()
		select {
		case <-killed:
		case <-ended:
		case <-time.After(pipeTime):
		}
	}
}

// errStart is in the tree of all errors for programs that do not run.
var errStart = errors.New("the program cannot be started")

func explainStart(err error) error {
	var path *fs.PathError
	var own *fileowner.ProgramError
	hint := ""
	switch {
	case errors.As(err, &own):
		hint = own.Hint()
	case errors.Is(err, syscall.ENOEXEC):
		hint = "a script must begin with a line such as #!/bin/sh, and a program must be for this system"
	case errors.Is(err, fs.ErrPermission):
		hint = "check that program= names a file that this user may execute, as with: chmod +x FILE"
	case errors.Is(err, fs.ErrNotExist) && errors.As(err, &path) && path.Op != "stat": // the file is there
		hint = "check the first line of the script, such as #!/usr/bin/python3"
	}
	if own == nil && errors.As(err, &path) {
		err = path.Err // without the path, which is in the reference
	}
	err = fmt.Errorf("%w: %w", errStart, err)
	if hint != "" {
		err = signer.WithHint(err, hint)
	}
	return err
}

// read passes the lines of standard output on until it ends, or the program is killed.
func (p *process) read(ctx context.Context, stdout io.Reader) error {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, maxLine+len("\n"))
	lines.Split(wholeLines)
	for lines.Scan() {
		select {
		case p.lines <- bytes.Clone(lines.Bytes()):
		case <-ctx.Done():
			return nil
		}
	}
	return lines.Err()
}

// wholeLines is [bufio.ScanLines] without a last line that has no end.
func wholeLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
}

// ask sends a request, and returns the line that the program answers. If ctx ends before
// that, or after answerTime, it kills the program: a late answer must not be taken for
// that of another request.
func (p *process) ask(ctx context.Context, line []byte) ([]byte, error) {
	select {
	case early := <-p.lines:
		p.kill()
		return nil, broken("it has written a line without a request: %q", excerpt(string(early)))
	default:
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerTime, fmt.Errorf("it did not answer within %v: %w", answerTime, context.DeadlineExceeded))
	defer cancel()
	p.log.allowMore()
	go func() { // the pipe can be full; the end of the program is seen at its output
		_, _ = p.stdin.Write(line)
		clear(line)
	}()
	select {
	case answer := <-p.lines:
		return answer, nil
	case <-p.eof:
	case <-ctx.Done():
		p.kill()
		return nil, mute(context.Cause(ctx))
	}
	defer p.kill()
	if errors.Is(p.readErr, bufio.ErrTooLong) {
		return nil, broken("it writes a line of more than %d bytes", maxLine)
	}
	return nil, p.describeEnd(ctx)
}

// mute is the error for a program that did not answer before a context ended.
func mute(cause error) error {
	err := fmt.Errorf("the program does not answer: %w", cause)
	if errors.Is(cause, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", signer.ErrUnavailable, err)
	}
	return signer.WithHint(err, "look at the log of the program, and at the service or the device behind it, or allow more time")
}

// describeEnd says how the program has ended. Its output has ended.
func (p *process) describeEnd(ctx context.Context) error {
	how := "has closed its standard output without an answer"
	select {
	case <-p.ended:
		how = "has ended without an answer"
		if p.exit != nil && !errors.Is(p.exit, exec.ErrWaitDelay) {
			how += " (" + p.exit.Error() + ")"
		}
	case <-time.After(pipeTime):
	case <-ctx.Done():
	}
	if errors.Is(p.readErr, io.ErrUnexpectedEOF) {
		how += ", in the middle of a line"
	}
	if last := p.log.lastLine(); last != "" {
		how += ": " + last
	}
	return &endedError{how}
}

// hasEnded reports whether the program cannot answer any more.
func (p *process) hasEnded() bool {
	select {
	case <-p.eof:
		return true
	default:
		return false
	}
}

// stop ends the program: it closes its standard input, and kills it after endTime. It
// waits a little for a program that even that does not end.
func (p *process) stop(logger *slog.Logger) {
	_ = p.stdin.Close() // it may have ended
	timer := time.NewTimer(endTime)
	defer timer.Stop()
	select {
	case <-p.ended:
		return
	case <-timer.C:
		logger.Debug("the program does not end when its standard input ends, and is killed", "after", endTime)
	}
	p.kill()
	select {
	case <-p.ended:
	case <-time.After(pipeTime):
	}
}
