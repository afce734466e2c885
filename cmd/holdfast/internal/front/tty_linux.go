package front

import (
	"context"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/filelock"
	"github.com/holdfast-dev/holdfast/signer"
)

const (
	getTermios = unix.TCGETS
	setTermios = unix.TCSETS
)

// raiseStop stops the process with the default action of SIGTSTP. The Go runtime
// keeps its handler for a signal that was caught, so raiseStop replaces it until
// undo is called.
func raiseStop() (undo func()) {
	const sigsetSize = 8            // of the kernel's sigset_t, except on mips
	var byDefault, handler [64]byte // at least a struct sigaction; zero is SIG_DFL
	set := func(action, old *[64]byte) {
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGTSTP), uintptr(unsafe.Pointer(action)), uintptr(unsafe.Pointer(old)), sigsetSize, 0, 0)
	}
	set(&byDefault, &handler)
	_ = unix.Kill(unix.Getpid(), unix.SIGTSTP)
	return func() { set(&handler, nil) }
}

// lockPoll is how often a process tries to lock a terminal that is in use.
const lockPoll = 50 * time.Millisecond

// lockTerminal waits until no other process asks on the controlling terminal, and
// keeps them from asking until unlock is called. The lock is an advisory lock
// (flock) on the device of the terminal, which belongs to its user. If this
// process may not open the device, for example after su, there is no lock.
func lockTerminal(ctx context.Context) (unlock func(), err error) {
	f, err := openDevice()
	if err != nil {
		return func() {}, nil
	}
	for {
		held, err := filelock.TryLock(f)
		if held || err != nil { // with an error, locks are not supported here
			return func() { f.Close() }, nil
		}
		if await.Pause(ctx, lockPoll) != nil {
			f.Close()
			return nil, signer.WithHint(fmt.Errorf("another program asks for a password on %s: %w", f.Name(), ctx.Err()),
				"answer or end the other program, and run the command again")
		}
	}
}

// openDevice opens the controlling terminal by the name of its device. The file
// /dev/tty is the same one for all terminals and all users.
func openDevice() (*os.File, error) {
	name, err := deviceName()
	if err != nil {
		return nil, err
	}
	return os.OpenFile(name, os.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
}

// deviceName returns the path of the device of the controlling terminal, such as
// /dev/pts/3.
func deviceName() (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return "", err
	}
	defer tty.Close()
	device, err := unix.IoctlGetUint32(int(tty.Fd()), unix.TIOCGDEV)
	if err != nil {
		return "", err
	}
	const firstPTY, lastPTY, console, serial = 136, 143, 4, 64 // Documentation/admin-guide/devices.txt of Linux
	major, minor := unix.Major(uint64(device)), unix.Minor(uint64(device))
	var name string
	switch {
	case major >= firstPTY && major <= lastPTY:
		name = fmt.Sprintf("/dev/pts/%d", (major-firstPTY)<<8|minor)
	case major == console && minor < serial:
		name = fmt.Sprintf("/dev/tty%d", minor)
	case major == console:
		name = fmt.Sprintf("/dev/ttyS%d", minor-serial)
	}
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil || st.Rdev != uint64(device) {
		return "", os.ErrNotExist
	}
	return name, nil
}
