package peeruser_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/peeruser"
	"github.com/holdfast-dev/holdfast/internal/peeruser/peerusertest"
)

// Both ends learn the user of the other one: that of the client from who connected, that
// of the server from who began to listen.
func TestUID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, uid := range []int{os.Geteuid(), 4242} {
		if uid != os.Geteuid() {
			dir := peerusertest.Folder(t)
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			path = filepath.Join(dir, "s")
			l = peerusertest.Listen(t, path, uid)
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got, known, err := peeruser.UID(c); got != uid || !known || err != nil {
			t.Errorf("UID %d, known %t, %v; want %d", got, known, err, uid)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if got, known, err := peeruser.UID(s); got != os.Geteuid() || !known || err != nil {
			t.Errorf("the client has UID %d, known %t, %v", got, known, err)
		}
	}
	c, s := net.Pipe()
	defer c.Close()
	defer s.Close()
	if _, known, err := peeruser.UID(c); known || err != nil {
		t.Errorf("a pipe: known %t, %v", known, err)
	}
}
