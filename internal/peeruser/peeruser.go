// Package peeruser tells which user is at the other end of a Unix socket.
package peeruser

import "net"

// UID returns the user of the process at the other end of a Unix socket. At the end of a
// client, it is the user who began to listen, whatever the file of the socket says. known
// is false if c is no Unix socket, or if the system does not tell.
func UID(c net.Conn) (uid int, known bool, err error) {
	unix, ok := c.(*net.UnixConn)
	if !ok {
		return 0, false, nil
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	var peerErr error
	if err := raw.Control(func(fd uintptr) { uid, known, peerErr = peerUID(int(fd)) }); err != nil {
		return 0, false, err
	}
	return uid, known, peerErr
}
