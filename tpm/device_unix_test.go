//go:build unix

package tpm

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
)

// TestCancelWhileWaiting cancels the context during the first command, as Close
// does. If the TPM is executing the command, it still responds, so that nothing
// is left in it. If the TPM serves another client, the command fails.
func TestCancelWhileWaiting(t *testing.T) {
	command := []byte{0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0}
	answer := []byte{0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0}
	for _, c := range []struct {
		name    string
		answers bool
	}{{"executing", true}, {"serving another client", false}} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			served := make(chan struct{})
			defer close(served)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = io.ReadFull(conn, make([]byte, len(command)))
				cancel()
				if c.answers {
					<-ctx.Done()
					_, _ = conn.Write(answer)
				}
				<-served
			}()
			d, err := dial(ctx, path)
			if err != nil {
				t.Fatal(err)
			}
			defer d.close()
			response, err := d.Send(command)
			if c.answers && (err != nil || len(response) != len(answer)) {
				t.Errorf("%x, %v", response, err)
			}
			if !c.answers && !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want %v", err, context.Canceled)
			}
		})
	}
}
