//go:build darwin || freebsd

package peeruser

import "golang.org/x/sys/unix"

const solLocal = 0 // SOL_LOCAL

// peerUID asks for LOCAL_PEERCRED (unix(4)).
func peerUID(fd int) (uid int, known bool, err error) {
	c, err := unix.GetsockoptXucred(fd, solLocal, unix.LOCAL_PEERCRED)
	if err != nil {
		return 0, false, err
	}
	return int(c.Uid), true, nil
}
