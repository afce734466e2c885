package daemon

import "golang.org/x/sys/windows"

// setHopLimit sets how many hops the packets of a socket may go. A connection
// has it from its listener.
func setHopLimit(fd uintptr, limit int) error {
	v4 := windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_IP, windows.IP_TTL, limit)
	v6 := windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_IPV6, windows.IPV6_UNICAST_HOPS, limit)
	if v4 == nil || v6 == nil { // a socket is of one family, or of both
		return nil
	}
	return v4
}
