//go:build unix

package tpm

import (
	"cmp"
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

	"github.com/google/go-tpm/tpm2/transport"
	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/internal/filelock"
	"github.com/holdfast-dev/holdfast/signer"
)

// defaultDevices are tried in this order. The kernel provides a resource
// manager for the first one. Only one program can open the second one at a
// time.
var defaultDevices = []string{"/dev/tpmrm0", "/dev/tpm0"}

// dial opens a TPM. path is a character device or the socket of an emulator; ""
// selects the TPM of the machine.
func dial(ctx context.Context, path string) (*device, error) { return defaultTimeouts.dial(ctx, path) }

func (t timeouts) dial(ctx context.Context, path string) (*device, error) {
	if path == "" {
		for _, d := range defaultDevices {
			if _, err := os.Stat(d); err == nil {
				return t.dial(ctx, d)
			}
		}
		return nil, signer.WithHint(fmt.Errorf("no TPM at %s: %w", strings.Join(defaultDevices, " or "), signer.ErrUnavailable),
			"enable the TPM in the firmware, or select another device with device= or "+deviceVariable)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, openError(path, err)
	}
	open := t.openCharDevice
	switch mode := info.Mode(); {
	case mode&fs.ModeSocket != 0:
		open = t.connect
	case mode&fs.ModeCharDevice == 0:
		return nil, fmt.Errorf("%s: is neither a character device nor a socket: %w", path, signer.ErrUnavailable)
	}
	d, err := t.retryWhileBusy(ctx, func() (*device, error) { return open(ctx, path) })
	if err != nil {
		return nil, openError(path, err)
	}
	d.TPM, d.path = namedTPM{d.TPM, path}, path
	return d, nil
}

// A namedTPM adds the path of the device to errors.
type namedTPM struct {
	transport.TPM
	path string
}

func (n namedTPM) Send(command []byte) ([]byte, error) {
	response, err := n.TPM.Send(command)
	if err != nil {
		err = fmt.Errorf("%s: %w", n.path, withoutPath(err))
	}
	return response, err
}

// withoutPath returns the error inside an error of package os or net, which
// names the device.
func withoutPath(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	var opErr *net.OpError
	if errors.As(err, &opErr) {
		return opErr.Err
	}
	return err
}

// openError adds the path of the device, once, and a hint to an error of dial.
func openError(path string, err error) error {
	err = withoutPath(err)
	hint := signer.Hint(err)
	switch {
	case errors.Is(err, fs.ErrPermission):
		hint = "run as a user with access to the device; members of the group tss usually have access to /dev/tpmrm0"
	case errors.Is(err, fs.ErrNotExist):
		hint = "check device= and " + deviceVariable + ", and that the TPM is enabled in the firmware"
	case errors.Is(err, unix.ECONNREFUSED):
		hint = "start the TPM emulator; no program listens on this socket"
	}
	if !errors.Is(err, signer.ErrUnavailable) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", err, signer.ErrUnavailable)
	}
	return signer.WithHint(fmt.Errorf("%s: %w", path, err), hint)
}

// connect opens the socket of an emulator. swtpm serves one connection at a
// time and keeps one more in its backlog.
func (t timeouts) connect(ctx context.Context, path string) (*device, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if errors.Is(err, unix.EAGAIN) {
		return nil, errBusy
	}
	if err != nil {
		return nil, err
	}
	return &device{TPM: &socket{Conn: c, timeouts: t, firstCtx: ctx}, close: c.Close}, nil
}

type socket struct {
	net.Conn
	timeouts timeouts
	firstCtx context.Context // for the first command, which waits for other clients; then nil
}

func (s *socket) Send(command []byte) ([]byte, error) {
	if err := s.SetDeadline(time.Now().Add(s.timeouts.forCommand(command))); err != nil {
		return nil, err
	}
	ctx := s.firstCtx
	if s.firstCtx = nil; ctx == nil {
		return s.exchange(command)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.SetDeadline(time.Now().Add(cancelGrace)) })
	defer stop()
	response, err := s.exchange(command)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), withoutPath(err))
	}
	return response, err
}

func (s *socket) exchange(command []byte) ([]byte, error) {
	if _, err := s.Write(command); err != nil {
		return nil, err
	}
	response := make([]byte, maxResponse)
	if _, err := io.ReadFull(s.Conn, response[:headerSize]); err != nil {
		return nil, err
	}
	size := responseSize(response)
	if size < 0 {
		return nil, errNotTPM
	}
	_, err := io.ReadFull(s.Conn, response[headerSize:size])
	return response[:size], err
}

// openCharDevice opens a character device. The kernel allows only one open file
// description for /dev/tpm0; the file lock is for other devices.
func (t timeouts) openCharDevice(_ context.Context, path string) (*device, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	managed := strings.HasPrefix(filepath.Base(target), "tpmrm")
	// With O_NOCTTY, a terminal does not become the controlling terminal.
	// Without O_NONBLOCK, a read waits for the response.
	fd, err := unix.Open(target, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, errBusy
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	if !managed {
		if held, err := filelock.TryLock(f); !held {
			return nil, errors.Join(cmp.Or(err, errBusy), f.Close())
		}
	}
	d := &charDevice{f: f, fd: int32(fd), timeouts: t}
	return &device{TPM: d, close: d.close, managed: managed}, nil
}

type charDevice struct {
	f        *os.File
	fd       int32 // of f
	timeouts timeouts
	closed   atomic.Bool
}

// close also ends a Send that waits. Otherwise its poll would keep the device
// open, and the lock of the file.
func (d *charDevice) close() error {
	d.closed.Store(true)
	return d.f.Close()
}

func (d *charDevice) Send(command []byte) ([]byte, error) {
	deadline := time.Now().Add(d.timeouts.forCommand(command))
	if err := d.ready(unix.POLLOUT, deadline); err != nil {
		return nil, err
	}
	if _, err := d.f.Write(command); err != nil {
		return nil, err
	}
	response, n := make([]byte, maxResponse), 0
	for size := headerSize; n < size; {
		if err := d.ready(unix.POLLIN, deadline); err != nil {
			return nil, err
		}
		m, err := d.f.Read(response[n:])
		if err != nil {
			return nil, err
		}
		if n += m; n >= headerSize {
			if size = responseSize(response); size < 0 || n > size {
				return nil, errNotTPM
			}
		}
	}
	return response[:n], nil
}

// maxPoll is how long a poll lasts, so that close can end it.
const maxPoll = 50 * time.Millisecond

// ready waits until the device is ready for event.
func (d *charDevice) ready(event int16, deadline time.Time) error {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		if d.closed.Load() {
			return os.ErrClosed
		}
		fds := []unix.PollFd{{Fd: d.fd, Events: event}}
		n, err := unix.Poll(fds, int(min(left, maxPoll).Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			return nil
		}
	}
}
