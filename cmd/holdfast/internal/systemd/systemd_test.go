//go:build linux

package systemd

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// notify returns even if systemd does not read its socket.
func TestNotifyDoesNotBlock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	receiver, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	full, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if err := full.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = full.Write([]byte("x"))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		Manager{func(string) string { return name }}.Notify("READY=1")
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("notify does not return")
	}
}
