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

// systemd is what that manager is told, and what it hands over, by the
// environment (sd_notify(3), sd_listen_fds(3)). Its methods do nothing where
// systemd did not ask.
type systemd struct{ env func(name string) string }

// notify sends states such as READY=1. Nothing depends on who hears it.
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
	if conn.SetWriteDeadline(time.Now().Add(time.Second)) != nil { // who hears it may have stopped to
		return
	}
	_, _ = conn.Write([]byte(strings.Join(states, "\n")))
}

// watchdog says every half of the time that systemd allows that alive returned,
// until ctx ends.
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

// A namedListener is a socket that systemd opened, with the name that
// FileDescriptorName= gives.
type namedListener struct {
	name string
	net.Listener
}

// listeners returns the sockets that systemd opened, in its order.
func (s systemd) listeners() (all []namedListener, err error) {
	n, _ := strconv.Atoi(s.env("LISTEN_FDS"))
	if n <= 0 || s.env("LISTEN_PID") == "" || s.isOther("LISTEN_PID") {
		return nil, nil
	}
	const first, most = 3, 16
	if n > most {
		return nil, fmt.Errorf("LISTEN_FDS: %d sockets, at most %d make sense", n, most)
	}
	names := strings.Split(s.env("LISTEN_FDNAMES"), ":")
	for i := range n {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		f := os.NewFile(uintptr(first+i), name)
		l, err := net.FileListener(f) // a copy
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("socket %d of systemd: %w", i+1, err)
		}
		all = append(all, namedListener{name, l})
	}
	return all, nil
}

// isOther reports whether a variable names another process than this one.
func (s systemd) isOther(name string) bool {
	pid := s.env(name)
	return pid != "" && pid != strconv.Itoa(os.Getpid())
}
