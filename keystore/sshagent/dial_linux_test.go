package sshagent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/peeruser/peerusertest"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// TestForeignAgent: an agent of another user is not asked, whoever owns the file of its
// socket. A symbolic link that changes between the check of the file and the connection
// looks the same.
func TestForeignAgent(t *testing.T) {
	dir := peerusertest.Folder(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l := peerusertest.Listen(t, socket, 4242)
	if err := os.Chown(socket, 0, -1); err != nil {
		t.Fatal(err)
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
	_, err := Backend{}.Open(t.Context(), keystore.Ref{Scheme: scheme, Rest: "socket=" + socket}, keystore.Call{})
	if !errors.Is(err, signer.ErrUnavailable) || !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "the agent belongs to another user (UID 4242)") {
		t.Error(err)
	}
	if n := <-asked; n != 0 {
		t.Error("the agent was asked")
	}
}
