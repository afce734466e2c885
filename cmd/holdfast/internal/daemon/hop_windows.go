package daemon

import "golang.org/x/sys/windows"

// setHopLimit sets the IP hop limit of the packets that a socket sends.
// Connections inherit the limit from their listener.
func setHopLimit(fd uintptr, limit int) error {
	v4 := windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_IP, windows.IP_TTL, limit)
	v6 := windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_IPV6, windows.IPV6_UNICAST_HOPS, limit)
	if v4 == nil || v6 == nil { // the socket is IPv4, IPv6 or dual-stack
		return nil
	}
	return v4
}
