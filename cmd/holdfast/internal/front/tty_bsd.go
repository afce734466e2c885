//go:build unix && !linux

package front

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
)

// raiseStop stops the process. It uses SIGTTOU, which has the same default action
// as SIGTSTP: the Go runtime keeps its handler for a signal that was caught.
func raiseStop() (undo func()) {
	_ = unix.Kill(unix.Getpid(), unix.SIGTTOU)
	return func() {}
}

func deviceName() (string, error) { return "", errors.ErrUnsupported }

// lockTerminal does nothing: this system does not say which device the
// controlling terminal is.
func lockTerminal(context.Context) (unlock func(), err error) { return func() {}, nil }
