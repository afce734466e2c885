//go:build unix

package daemon

import "golang.org/x/sys/unix"

// setHopLimit sets the IP hop limit of the packets that a socket sends (ip(7),
// ipv6(7)). Connections inherit the limit from their listener.
func setHopLimit(fd uintptr, limit int) error {
	v4 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, limit)
	v6 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, limit)
	if v4 == nil || v6 == nil { // the socket is IPv4, IPv6 or dual-stack
		return nil
	}
	return v4
}
