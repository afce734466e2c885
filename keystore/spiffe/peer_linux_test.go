package spiffe

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/peeruser/peerusertest"
	"github.com/holdfast-dev/holdfast/signer"
)

// TestPeer: a Workload API of another user is asked only where nobody else could listen.
func TestPeer(t *testing.T) {
	const agent, other = 4242, 4343
	for _, test := range []struct {
		name   string
		owner  int         // of the folder of the socket
		mode   fs.FileMode // of that folder
		above  fs.FileMode // of the folder above
		link   fs.FileMode // unless 0, of a folder with a link to the folder above
		uid    int         // of the listener
		wanted string      // "": it is asked
	}{
		{"own folder", agent, 0o755, 0o755, 0, agent, ""},
		{"root in it", agent, 0o755, 0o755, 0, 0, ""},
		{"root anywhere", other, 0o777, 0o777, 0, 0, ""},
		{"folder for all", agent, 0o777, 0o755, 0, agent, "/agent can be written by other users (mode 0777)"},
		{"folder of another user", other, 0o777, 0o755, 0, agent, "/agent belongs to another user (UID 4343)"},
		{"first in a folder for all", agent, 0o755, 0o777 | fs.ModeSticky, 0, agent, "/top can be written by other users (mode 0777)"},
		{"link", agent, 0o755, 0o755, 0o755, agent, ""},
		{"link in a folder for all", agent, 0o755, 0o755, 0o777 | fs.ModeSticky, agent, "/links can be written by other users (mode 0777)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			base := peerusertest.Folder(t)
			top := filepath.Join(base, "top")
			dir := filepath.Join(top, "agent")
			path := filepath.Join(dir, "s")
			if err := errors.Join(os.Mkdir(top, 0o755), os.Mkdir(dir, 0o755), os.Chown(dir, test.owner, -1), os.Chmod(dir, test.mode)); err != nil {
				t.Skip(err)
			}
			l := peerusertest.Listen(t, path, test.uid)
			if err := os.Chmod(top, test.above); err != nil {
				t.Fatal(err)
			}
			if test.link != 0 {
				links := filepath.Join(base, "links")
				if err := errors.Join(os.Mkdir(links, 0o755), os.Symlink("../top", filepath.Join(links, "top")), os.Chmod(links, test.link)); err != nil {
					t.Fatal(err)
				}
				path = filepath.Join(links, "top", "agent", "s")
			}
			asked := make(chan int, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				n, _ := c.Read(make([]byte, 1))
				asked <- n
			}()
			_, err := fetch(t.Context(), endpoint{"unix", path})
			if n := <-asked; (n > 0) != (test.wanted == "") {
				t.Errorf("%d bytes were sent", n)
			}
			refused := errors.Is(err, fs.ErrPermission)
			if !errors.Is(err, signer.ErrUnavailable) || refused != (test.wanted != "") || !strings.Contains(err.Error(), test.wanted) {
				t.Error(err)
			}
			if refused && !strings.Contains(signer.Hint(err), "below /run") {
				t.Errorf("hint %q", signer.Hint(err))
			}
		})
	}
}

// TestAbstractSocket: a socket without a file is not asked.
func TestAbstractSocket(t *testing.T) {
	l, err := net.Listen("unix", "@holdfast-spiffe-test")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, socket := range []string{l.Addr().String(), "\x00holdfast-spiffe-test"} {
		if e, err := endpointOf(socket); err == nil || !strings.Contains(err.Error(), "abstract socket") {
			t.Errorf("%q: %v, %v", socket, e, err)
		}
	}
}
