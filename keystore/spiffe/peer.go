package spiffe

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/internal/peeruser"
	"github.com/holdfast-dev/holdfast/signer"
)

// checkPeer returns an error if somebody else can be at the other end of c than the agent:
// anybody could listen first while the agent is not running. The agent runs as root, as
// this user, or as a user of its own. Another user is taken for that of the agent only if
// nobody but that user, root and this user can put a socket where it is.
func (e endpoint) checkPeer(c net.Conn) error {
	uid, known, err := peeruser.UID(c)
	switch {
	case err != nil:
		return fmt.Errorf("%w: user of the Workload API at %s: %w", signer.ErrUnavailable, e, err)
	case !known || uid == 0 || uid == os.Geteuid():
		return nil
	}
	err = fileowner.CheckPlace(e.address, uid)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w: the Workload API at %s belongs to another user (UID %d): %w", signer.ErrUnavailable, e, uid, err)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return signer.WithHint(err, "check that this user is that of the agent; let the agent have its socket below /run, in a folder that only its user can write, or run it as root")
}
