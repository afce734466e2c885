package sshagent

import "golang.org/x/sys/unix"

// peerUID returns the user of the client of a socket (unix(4), LOCAL_PEERCRED).
func peerUID(fd int) (uid int, known bool, err error) {
	c, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return 0, false, err
	}
	return int(c.Uid), true, nil
}
