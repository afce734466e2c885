//go:build unix

package front

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/internal/await"
)

// maxTyped is the maximum length of a line from a terminal, in bytes. Terminals
// have the same limit or a lower one.
const maxTyped = 4 << 10

// resumeTimeout bounds the wait for SIGCONT after this process stopped itself. It
// passes only if the process was not stopped, because no shell could resume it
// (POSIX, orphaned process groups).
const resumeTimeout = time.Second

// caughtTimeout is how long a command that catches a signal may take to end the
// context of its prompt.
const caughtTimeout = 100 * time.Millisecond

// OpenTTY opens the controlling terminal of the process (POSIX, /dev/tty).
func OpenTTY() (TTY, error) {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	return &terminal{f: f}, nil
}

// A terminal is the TTY of the controlling terminal. It owns the file. The
// terminal itself reads and edits the line, so that it also handles any bytes and
// the keys that send signals.
type terminal struct {
	f      *os.File
	lines  chan typed // results of the read in progress; nil: there is none
	before unix.Termios
	silent unix.Termios // before, without echo
	isSet  bool         // the terminal is silent
}

type typed struct {
	line []byte
	err  error
}

func (t *terminal) Close() error { return t.f.Close() }

func (t *terminal) Print(line string) error {
	_, err := io.WriteString(t.f, line+"\r\n")
	return err
}

// ReadPassword turns the echo off before it prints the prompt, so that input
// that arrives immediately after the prompt is not shown. A signal that stops or
// ends the process takes its effect after the terminal is as before. When the
// process continues, ReadPassword prompts again. While another process asks on
// the same terminal, it waits.
func (t *terminal) ReadPassword(ctx context.Context, prompt string) ([]byte, error) {
	signals := make(chan os.Signal, 16)
	defer signal.Stop(signals)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGTRAP, syscall.SIGSYS, syscall.SIGTSTP} {
		if !signal.Ignored(s) { // for example by nohup
			signal.Notify(signals, s)
		}
	}
	signal.Notify(signals, syscall.SIGCONT)
	for {
		line, err := t.ask(ctx, prompt, signals)
		var stopped signaled
		if !errors.As(err, &stopped) {
			return line, err
		}
		switch s := stopped.Signal; s {
		case syscall.SIGCONT: // after SIGSTOP, the shell may have changed the terminal
		case syscall.SIGTSTP:
			stop(signals)
		default:
			if await.Pause(ctx, caughtTimeout) != nil {
				return nil, ctx.Err()
			}
			signal.Stop(signals)
			_ = unix.Kill(unix.Getpid(), s) // the default action
			_ = await.Pause(ctx, resumeTimeout)
			return nil, context.Canceled
		}
	}
}

// stop stops the process, as the default action of SIGTSTP does, until another
// process continues it.
func stop(signals <-chan os.Signal) {
	defer raiseStop()()
	for timeout := time.After(resumeTimeout); ; {
		select {
		case s := <-signals:
			if s == syscall.SIGCONT {
				return
			}
		case <-timeout:
			return
		}
	}
}

// A signaled is the error of a prompt that a signal ended.
type signaled struct{ syscall.Signal }

func (s signaled) Error() string { return s.String() }

// ask prompts once. The terminal is as before when it returns.
func (t *terminal) ask(ctx context.Context, prompt string, signals <-chan os.Signal) (line []byte, err error) {
	if err := t.awaitForeground(); err != nil { // first, so that no process sleeps with the lock
		return nil, err
	}
	unlock, err := lockTerminal(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := t.silence(); err != nil {
		return nil, err
	}
	defer t.restore()
	for len(signals) > 0 {
		if s := <-signals; s != syscall.SIGCONT { // it continues here anyway
			return nil, signaled{s.(syscall.Signal)}
		}
	}
	if _, err := io.WriteString(t.f, prompt); err != nil {
		return nil, err
	}
	if t.lines == nil {
		t.lines = make(chan typed, 1)
		go func(lines chan<- typed) { lines <- readLine(t.f) }(t.lines)
	}
	select {
	case r := <-t.lines:
		t.lines = nil
		return r.line, r.err
	case <-ctx.Done():
		_ = t.f.SetReadDeadline(time.Now()) // ends the read, if the system can do that
		return nil, ctx.Err()
	case s := <-signals:
		return nil, signaled{s.(syscall.Signal)}
	}
}

// readLine reads a line without its end.
func readLine(r io.Reader) (t typed) {
	buf := make([]byte, maxTyped)
	defer clear(buf)
	for n := 0; n < len(buf); {
		k, err := r.Read(buf[n:])
		if k == 0 || err != nil { // for example Ctrl-D
			if err == nil || errors.Is(err, io.EOF) {
				err = errInputEnded
			}
			return typed{nil, err}
		}
		if end := bytes.IndexAny(buf[n:n+k], "\r\n"); end >= 0 {
			return typed{bytes.Clone(buf[:n+end]), nil}
		}
		n += k
	}
	return typed{nil, errTooLong}
}

// awaitForeground changes nothing. If the process is in the background, the kernel
// stops it for trying, until it is in the foreground.
func (t *terminal) awaitForeground() error {
	state, err := t.get()
	if err != nil {
		return err
	}
	return t.set(*state)
}

// silence turns the echo off.
func (t *terminal) silence() error {
	state, err := t.get()
	if err != nil {
		return err
	}
	t.before, t.silent = *state, *state
	t.silent.Lflag |= unix.ICANON | unix.ISIG
	t.silent.Lflag &^= unix.ECHO | unix.ECHONL
	t.silent.Iflag |= unix.ICRNL
	t.isSet = true
	return t.set(t.silent)
}

// restore undoes silence, unless another process has changed the terminal in the
// meantime, and ends the line of the prompt.
func (t *terminal) restore() {
	_, _ = io.WriteString(t.f, "\r\n") // the terminal may be gone
	if state, err := t.get(); err != nil || !t.isSet || *state != t.silent {
		return
	}
	if !t.inForeground() { // for example because the parent was killed
		signal.Ignore(syscall.SIGTTOU) // permits the change
	}
	_ = t.set(t.before)
	t.isSet = false
}

// inForeground reports whether the process group of this process is in the
// foreground.
func (t *terminal) inForeground() (foreground bool) {
	raw, err := t.f.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		group, err := unix.IoctlGetInt(int(fd), unix.TIOCGPGRP)
		foreground = err == nil && group == unix.Getpgrp()
	})
	return foreground
}

// saveTerminal returns the path of the controlling terminal, and a function that
// restores its present state. The path is empty if there is no terminal.
func saveTerminal() (restore func(), name string) {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return func() {}, ""
	}
	t := &terminal{f: f}
	state, err := t.get()
	if err != nil {
		f.Close()
		return func() {}, ""
	}
	if name, err = deviceName(); err != nil {
		name = f.Name()
	}
	return func() {
		if now, err := t.get(); err == nil && *now != *state && t.inForeground() {
			_ = t.set(*state)
		}
		f.Close()
	}, name
}

// get and set do not use Fd, which would make the reads of the file block.
func (t *terminal) get() (state *unix.Termios, err error) {
	raw, err := t.f.SyscallConn()
	if err != nil {
		return nil, err
	}
	control := raw.Control(func(fd uintptr) { state, err = unix.IoctlGetTermios(int(fd), getTermios) })
	return state, errors.Join(control, err)
}

func (t *terminal) set(state unix.Termios) error {
	raw, err := t.f.SyscallConn()
	if err != nil {
		return err
	}
	control := raw.Control(func(fd uintptr) { err = unix.IoctlSetTermios(int(fd), setTermios, &state) })
	return errors.Join(control, err)
}
