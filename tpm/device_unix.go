//go:build unix

package tpm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/signer"
)

// defaultDevices are tried in turn. The kernel has a resource manager behind
// the first; the second can be opened once at a time.
var defaultDevices = []string{"/dev/tpmrm0", "/dev/tpm0"}

// dial opens a TPM: a character device, or the socket of an emulator; "" is the
// machine's own.
func dial(ctx context.Context, path string) (*device, error) {
	if path == "" {
		for _, p := range defaultDevices {
			if _, err := os.Stat(p); err == nil {
				return dial(ctx, p)
			}
		}
		return nil, signer.WithHint(fmt.Errorf("no TPM at %s: %w", strings.Join(defaultDevices, " or "), signer.ErrUnavailable),
			"enable the TPM in the firmware, or name another by device= or "+deviceVariable)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, openError(path, err)
	}
	open := openCharDevice
	switch mode := info.Mode(); {
	case mode&fs.ModeSocket != 0:
		open = connect
	case mode&fs.ModeCharDevice == 0:
		return nil, fmt.Errorf("%s: is neither a device nor a socket: %w", path, signer.ErrUnavailable)
	}
	d, err := awaitDevice(ctx, func() (*device, error) { return open(ctx, path) })
	if err != nil {
		return nil, openError(path, err)
	}
	d.TPM = patient{d.TPM}
	return d, nil
}

// openError names the device once and says what can be done.
func openError(path string, err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	var opErr *net.OpError
	if errors.As(err, &opErr) {
		err = opErr.Err
	}
	hint := signer.Hint(err)
	switch {
	case errors.Is(err, fs.ErrPermission):
		hint = "run as a user who may open it: members of the group tss may open /dev/tpmrm0"
	case errors.Is(err, fs.ErrNotExist):
		hint = "check device= and " + deviceVariable + ", and that the TPM is enabled in the firmware"
	case errors.Is(err, unix.ECONNREFUSED):
		hint = "nothing listens there: start the TPM emulator"
	}
	if !errors.Is(err, signer.ErrUnavailable) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", err, signer.ErrUnavailable)
	}
	return signer.WithHint(fmt.Errorf("%s: %w", path, err), hint)
}

// connect opens the socket of an emulator. swtpm serves one connection at a
// time and lets one more wait.
func connect(ctx context.Context, path string) (*device, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if errors.Is(err, unix.EAGAIN) {
		return nil, errBusy
	}
	if err != nil {
		return nil, err
	}
	return &device{TPM: &socket{Conn: c, ctx: ctx}, close: c.Close}, nil
}

type socket struct {
	net.Conn
	ctx context.Context // of the first command, which waits for other clients
}

// grace is how long the answer to the first command is still waited for when
// the context has ended.
const grace = time.Second

func (s *socket) Send(command []byte) (_ []byte, err error) {
	if err := s.SetDeadline(time.Now().Add(patienceFor(command))); err != nil {
		return nil, busError(err)
	}
	if ctx := s.ctx; ctx != nil {
		// A command that the TPM is at work with is not given up: what it makes
		// would stay in the TPM.
		stop := context.AfterFunc(ctx, func() { _ = s.SetDeadline(time.Now().Add(grace)) })
		defer func() {
			stop()
			if err != nil && ctx.Err() != nil {
				err = fmt.Errorf("%w: %w", ctx.Err(), err)
			}
		}()
		s.ctx = nil
	}
	if _, err := s.Write(command); err != nil {
		return nil, busError(err)
	}
	response := make([]byte, maxResponse)
	if _, err := io.ReadFull(s.Conn, response[:10]); err != nil {
		return nil, busError(err)
	}
	size := responseSize(response)
	if size < 0 {
		return nil, errNotTPM
	}
	_, err = io.ReadFull(s.Conn, response[10:size])
	return response[:size], busError(err)
}

// openCharDevice opens a device node. The kernel lets only one have /dev/tpm0;
// the lock is for what stands in for it and does not.
func openCharDevice(_ context.Context, path string) (*device, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	managed := strings.HasPrefix(filepath.Base(target), "tpmrm")
	// O_NOCTTY: a terminal that is named by mistake does not become ours.
	// Blocking, since an answer is not there at once.
	fd, err := unix.Open(target, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, errBusy
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	if !managed {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errBusy
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return &device{TPM: &charDevice{f: f}, close: f.Close, managed: managed}, nil
}

type charDevice struct {
	f    *os.File
	dead atomic.Bool // an answer may still come that belongs to an earlier command
}

func (d *charDevice) Send(command []byte) (_ []byte, err error) {
	if d.dead.Load() {
		return nil, busError(os.ErrClosed)
	}
	defer func() { d.dead.Store(err != nil) }()
	if _, err := d.f.Write(command); err != nil {
		return nil, busError(err)
	}
	deadline := time.Now().Add(patienceFor(command))
	response, n := make([]byte, maxResponse), 0
	for size := 10; n < size; {
		if err := readable(int(d.f.Fd()), deadline); err != nil {
			return nil, busError(err)
		}
		m, err := d.f.Read(response[n:])
		if err != nil {
			return nil, busError(err)
		}
		if n += m; n >= 10 {
			if size = responseSize(response); size < 0 || n > size {
				return nil, errNotTPM
			}
		}
	}
	return response[:n], nil
}

// readable waits until something can be read from fd.
func readable(fd int, deadline time.Time) error {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			return nil
		}
	}
}
