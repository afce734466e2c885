//go:build (darwin || linux) && (amd64 || arm64)

package isolated

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// closeInherited closes files that this process has only because programs before it left
// them open, such as a lock or a pipe that a shell opened for another program. Go's own are
// closed at exec.
func closeInherited() {
	open, err := os.ReadDir("/dev/fd")
	if err != nil {
		return // without /dev
	}
	for _, file := range open {
		fd, err := strconv.Atoi(file.Name())
		if err != nil || fd <= 2 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
}

// takeStreams returns standard input and output, and puts others in their places: a
// module may write, and even read, there.
func takeStreams() (in, out *os.File, err error) {
	empty, end, err := os.Pipe() // there may be no /dev/null
	if err != nil {
		return nil, nil, err
	}
	defer empty.Close()
	if err := end.Close(); err != nil {
		return nil, nil, err
	}
	var files [2]int
	for fd, other := range []int{int(empty.Fd()), 2} {
		if files[fd], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err != nil {
			return nil, nil, err
		}
		if err := unix.Dup2(other, fd); err != nil {
			return nil, nil, err
		}
	}
	// Then the runtime waits for requests with epoll or kqueue. A thread that waits in
	// read(2) would keep one of the few that may run Go code, which the runtime takes back
	// only by looking every 20 µs.
	if err := unix.SetNonblock(files[0], true); err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(files[0]), "requests"), os.NewFile(uintptr(files[1]), "answers"), nil
}

// leaveStreams puts a pipe that nobody reads in the place of standard output and error:
// whoever reads those of the program that has ended must not wait for the module. If they
// were only closed, a module could write into a file of its own.
func leaveStreams() {
	unread, end, err := os.Pipe()
	if err != nil {
		return
	}
	defer unread.Close()
	defer end.Close()
	if _, err := unix.FcntlInt(unread.Fd(), unix.F_DUPFD_CLOEXEC, 3); err != nil { // stays open: without SIGPIPE
		return
	}
	for _, fd := range []int{1, 2} {
		_ = unix.Dup2(int(end.Fd()), fd)
	}
}
