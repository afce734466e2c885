//go:build !windows

package sshagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/internal/peeruser"
	"github.com/holdfast-dev/holdfast/signer"
)

// defaultSocket is the socket without a reference and a variable that name one.
const defaultSocket = ""

// setSocket begins a command line of a shell, and quotedQuote is ' in a word of one.
const (
	setSocket   = socketVariable + "=%s "
	quotedQuote = `'\''`
)

// dial connects to the agent at a socket. Both have to belong to this user or to root: the
// agent of anybody else could offer its own key where any key will do. The owner of the
// file alone does not tell: the file can be replaced before the connection.
func dial(ctx context.Context, socket string) (io.ReadWriteCloser, error) {
	if !filepath.IsAbs(socket) {
		socket = "." + string(filepath.Separator) + socket // @NAME is no file, and belongs to nobody
	}
	info, err := os.Stat(socket)
	if err != nil {
		return nil, unreachable(withoutPath(err))
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return nil, unreachable(errors.New("is not a socket"))
	}
	if uid, known := fileowner.UID(info); known && foreign(uid) {
		return nil, foreignError("socket", uid)
	}
	for {
		c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			return checked(c)
		}
		// Linux does not wait if too many connections wait for the agent.
		if !errors.Is(err, syscall.EAGAIN) || await.Pause(ctx, 10*time.Millisecond) != nil {
			return nil, unreachable(withoutPath(err))
		}
	}
}

// checked returns c, or closes it if the agent belongs to another user.
func checked(c net.Conn) (io.ReadWriteCloser, error) {
	uid, known, err := peeruser.UID(c)
	switch {
	case err != nil:
		err = unreachable(fmt.Errorf("user of the agent: %w", err))
	case known && foreign(uid):
		err = foreignError("agent", uid)
	default:
		return c, nil
	}
	c.Close()
	return nil, err
}

func foreign(uid int) bool { return uid != 0 && uid != os.Geteuid() }

func foreignError(what string, uid int) error {
	return signer.WithHint(fmt.Errorf("%w: the %s belongs to another user (UID %d): %w", signer.ErrUnavailable, what, uid, fs.ErrPermission),
		"run the command as that user, or use an agent of your own")
}

// withoutPath removes from err the names that the caller adds.
func withoutPath(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}
