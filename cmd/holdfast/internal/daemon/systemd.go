package daemon

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// systemd implements sd_notify(3) and sd_listen_fds(3), which pass their
// parameters in the environment. Its methods do nothing if systemd has not set
// the variables.
type systemd struct{ env func(name string) string }

// notify sends states such as READY=1. It ignores errors.
func (s systemd) notify(states ...string) {
	name := s.env("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	if conn.SetWriteDeadline(time.Now().Add(time.Second)) != nil { // do not block if the receiver does not read
		return
	}
	_, _ = conn.Write([]byte(strings.Join(states, "\n")))
}

// watchdog calls alive and then sends WATCHDOG=1, twice per watchdog interval,
// until ctx ends. If alive does not return, systemd restarts the service.
func (s systemd) watchdog(ctx context.Context, alive func()) {
	usec, err := strconv.ParseInt(s.env("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 || s.isOther("WATCHDOG_PID") {
		return
	}
	tick := time.NewTicker(max(time.Duration(usec)*time.Microsecond/2, time.Millisecond))
	defer tick.Stop()
	for {
		alive()
		s.notify("WATCHDOG=1")
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// A namedListener is a socket from systemd with its FileDescriptorName=.
type namedListener struct {
	name string
	net.Listener
}

// listeners returns the sockets from systemd, in the order of systemd. The
// caller closes them.
func (s systemd) listeners() (all []namedListener, err error) {
	n, _ := strconv.Atoi(s.env("LISTEN_FDS"))
	if n <= 0 || s.env("LISTEN_PID") == "" || s.isOther("LISTEN_PID") {
		return nil, nil
	}
	const firstFD, maxSockets = 3, 16
	if n > maxSockets {
		return nil, fmt.Errorf("LISTEN_FDS: %d sockets exceed the limit of %d", n, maxSockets)
	}
	names := strings.Split(s.env("LISTEN_FDNAMES"), ":")
	for i := range n {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		f := os.NewFile(uintptr(firstFD+i), name)
		l, err := net.FileListener(f) // duplicates the file descriptor
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("socket %d from systemd: %w", i+1, err)
		}
		all = append(all, namedListener{name, l})
	}
	return all, nil
}

// isOther reports whether a variable contains the ID of another process.
func (s systemd) isOther(name string) bool {
	pid := s.env(name)
	return pid != "" && pid != strconv.Itoa(os.Getpid())
}
