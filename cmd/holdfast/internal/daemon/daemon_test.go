//go:build linux

package daemon

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

// notify returns even if systemd does not read its socket.
func TestNotifyDoesNotBlock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	receiver, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	full, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if err := full.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = full.Write([]byte("x"))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		systemd{func(string) string { return name }}.notify("READY=1")
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("notify does not return")
	}
}

func TestHopLimit(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := loopback.Listen(t.Context(), addr, false)
		if err != nil {
			t.Logf("%s: %v", addr, err) // no IPv6 on this machine
			continue
		}
		defer l.Close()
		if err := limitHops(l, 7); err != nil {
			t.Fatal(err)
		}
		go net.Dial("tcp", l.Addr().String())
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		err = errors.Join(raw.Control(func(fd uintptr) {
			if addr[0] == '[' {
				got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS)
			} else {
				got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL)
			}
		}), err)
		if err != nil || got != 7 {
			t.Errorf("%s: hop limit %d, %v", addr, got, err)
		}
	}
}

func TestBaseURL(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:1": "http://127.0.0.1:1", "0.0.0.0:1": "http://127.0.0.1:1", "[::]:1": "http://127.0.0.1:1", "[::1]:1": "http://[::1]:1", "192.0.2.1:1": "http://192.0.2.1:1",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := baseURL(tcp); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
