//go:build unix

package daemon

import "golang.org/x/sys/unix"

// setHopLimit sets how many hops the packets of a socket may go (ip(7),
// ipv6(7)). A connection has it from its listener.
func setHopLimit(fd uintptr, limit int) error {
	v4 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, limit)
	v6 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, limit)
	if v4 == nil || v6 == nil { // a socket is of one family, or of both
		return nil
	}
	return v4
}
