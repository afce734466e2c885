package sshagent

import "golang.org/x/sys/unix"

// peerUID returns the user of the client of a socket (unix(7), SO_PEERCRED).
func peerUID(fd int) (uid int, known bool, err error) {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, false, err
	}
	return int(c.Uid), true, nil
}
