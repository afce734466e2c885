package renewing_test

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
)

// A gate passes connections to a server while it is open, and counts them.
type gate struct {
	net.Listener
	server string
	shut   atomic.Bool
	passed atomic.Int64
}

// newGate returns an open gate to the server with a URL of https.
func newGate(t *testing.T, url string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{Listener: l, server: strings.TrimPrefix(url, "https://")}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go g.pass(client)
		}
	}()
	return g
}

func (g *gate) url() string { return "https://" + g.Addr().String() }

func (g *gate) pass(client net.Conn) {
	defer client.Close()
	if g.shut.Load() {
		return
	}
	server, err := net.Dial("tcp", g.server)
	if err != nil {
		return
	}
	defer server.Close()
	g.passed.Add(1)
	go func() {
		_, _ = io.Copy(server, client)
		server.Close()
	}()
	_, _ = io.Copy(client, server)
}
