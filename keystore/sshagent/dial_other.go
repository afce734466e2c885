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
	"github.com/holdfast-dev/holdfast/signer"
)

// defaultSocket is the socket without a reference and a variable that name one.
const defaultSocket = ""

// dial connects to the agent at a socket, which has to belong to this user or to root:
// the agent of anybody else could offer its own key where any key will do.
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
	if uid, known := fileowner.UID(info); known && uid != os.Geteuid() && uid != 0 {
		return nil, signer.WithHint(fmt.Errorf("%w: the socket belongs to another user (UID %d): %w", signer.ErrUnavailable, uid, fs.ErrPermission),
			"run the command as that user, or use an agent of your own")
	}
	for {
		c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			return c, nil
		}
		// Linux does not wait if too many connections wait for the agent.
		if !errors.Is(err, syscall.EAGAIN) || await.Pause(ctx, 10*time.Millisecond) != nil {
			return nil, unreachable(withoutPath(err))
		}
	}
}

// withoutPath removes from err the names that the caller adds.
func withoutPath(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}
