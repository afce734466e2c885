package sshagent

import (
	"fmt"
	"net"
	"os"
)

// sameUser refuses clients of other users but root, where the system tells who they
// are. Elsewhere the permissions of the socket do.
func sameUser(c net.Conn) error {
	unix, ok := c.(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return err
	}
	var uid int
	var known bool
	var peerErr error
	if err := raw.Control(func(fd uintptr) { uid, known, peerErr = peerUID(int(fd)) }); err != nil {
		return err
	}
	switch {
	case peerErr != nil:
		return fmt.Errorf("user of the client: %w", peerErr)
	case known && uid != 0 && uid != os.Geteuid():
		return fmt.Errorf("the client belongs to the user %d", uid)
	}
	return nil
}
