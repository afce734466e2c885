package sshagent

import (
	"fmt"
	"net"
	"os"

	"github.com/holdfast-dev/holdfast/internal/peeruser"
)

// sameUser refuses clients of other users but root, where the system tells who they
// are. Elsewhere the permissions of the socket do.
func sameUser(c net.Conn) error {
	uid, known, err := peeruser.UID(c)
	switch {
	case err != nil:
		return fmt.Errorf("user of the client: %w", err)
	case known && uid != 0 && uid != os.Geteuid():
		return fmt.Errorf("the client belongs to the user %d", uid)
	}
	return nil
}
