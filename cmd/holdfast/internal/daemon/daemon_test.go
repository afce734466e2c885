//go:build linux

package daemon

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

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
