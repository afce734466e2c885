// Package systemd tells systemd about the state of a service and takes sockets from it.
package systemd

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Manager implements sd_notify(3) and sd_listen_fds(3), which pass their
// parameters in the environment. Its methods do nothing if systemd has not set
// the variables. They are safe for concurrent use if Env is.
type Manager struct{ Env func(name string) string }

// Notify sends states such as READY=1. It ignores errors.
func (m Manager) Notify(states ...string) {
	name := m.Env("NOTIFY_SOCKET")
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

// Watchdog calls alive and then sends WATCHDOG=1, twice per watchdog interval,
// until ctx ends. If alive does not return, systemd restarts the service.
func (m Manager) Watchdog(ctx context.Context, alive func()) {
	usec, err := strconv.ParseInt(m.Env("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 || m.isOther("WATCHDOG_PID") {
		return
	}
	tick := time.NewTicker(max(time.Duration(usec)*time.Microsecond/2, time.Millisecond))
	defer tick.Stop()
	for {
		alive()
		m.Notify("WATCHDOG=1")
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// A NamedListener is a socket from systemd with its FileDescriptorName=.
type NamedListener struct {
	Name string
	net.Listener
}

// Listeners returns the sockets from systemd, in the order of systemd. The
// caller closes them.
func (m Manager) Listeners() (all []NamedListener, err error) {
	n, _ := strconv.Atoi(m.Env("LISTEN_FDS"))
	if n <= 0 || m.Env("LISTEN_PID") == "" || m.isOther("LISTEN_PID") {
		return nil, nil
	}
	const firstFD, maxSockets = 3, 16
	if n > maxSockets {
		return nil, fmt.Errorf("LISTEN_FDS: %d sockets exceed the limit of %d", n, maxSockets)
	}
	names := strings.Split(m.Env("LISTEN_FDNAMES"), ":")
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
		all = append(all, NamedListener{name, l})
	}
	return all, nil
}

// isOther reports whether a variable contains the ID of another process.
func (m Manager) isOther(name string) bool {
	pid := m.Env(name)
	return pid != "" && pid != strconv.Itoa(os.Getpid())
}

// Report starts background tasks that tell systemd until ctx ends that the service works,
// for which they call alive, when it is ready, and that it stops. ready waits until then, and
// returns a description of the service, or false if ctx ended before.
func (m Manager) Report(ctx context.Context, background *sync.WaitGroup, alive func(), ready func() (status string, ok bool)) {
	background.Go(func() {
		<-ctx.Done()
		m.Notify("STOPPING=1")
	})
	background.Go(func() { m.Watchdog(ctx, alive) })
	background.Go(func() {
		if status, ok := ready(); ok {
			m.Notify("READY=1", "STATUS="+status)
		}
	})
}
