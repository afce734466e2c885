package peeruser

import "golang.org/x/sys/unix"

// peerUID asks for SO_PEERCRED (unix(7)).
func peerUID(fd int) (uid int, known bool, err error) {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, false, err
	}
	return int(c.Uid), true, nil
}
