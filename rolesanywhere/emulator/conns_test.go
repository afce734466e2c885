package emulator

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A pipes is a listener whose connections are in memory, so that their deadlines follow
// the clock of a bubble.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// A client that does not read its response is disconnected. Faults.Latency and Faults.Hang
// are longer than any time limit of the connection.
func TestTimeLimits(t *testing.T) {
	const long = 5 * time.Minute
	for name, tt := range map[string]struct {
		faults   Faults
		late     bool // the client reads only after a long time
		answered bool
		after    time.Duration // at least, until the answer or the end
	}{
		"read at once":    {answered: true},
		"read late":       {late: true, after: long},
		"latency":         {faults: Faults{Latency: long}, answered: true, after: long},
		"longest latency": {faults: Faults{Latency: 1<<63 - 1}, after: 24 * time.Hour},
		"hang":            {faults: Faults{Hang: true}, after: 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, Config{Faults: tt.faults})
				ctx, cancel := context.WithCancel(t.Context())
				l := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
				served := make(chan error, 1)
				go func() { served <- s.Serve(ctx, l) }()
				client, server := net.Pipe()
				defer client.Close()
				l.accept <- server
				begin := time.Now()
				if _, err := io.WriteString(client, "POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
					t.Fatal(err)
				}
				if err := client.SetReadDeadline(begin.Add(24 * time.Hour)); err != nil {
					t.Fatal(err)
				}
				if tt.late {
					time.Sleep(long)
				}
				resp, err := http.ReadResponse(bufio.NewReader(client), nil)
				if err == nil {
					resp.Body.Close()
				}
				if after := time.Since(begin); (err == nil) != tt.answered || after < tt.after {
					t.Errorf("after %v: %v", after, err)
				}
				cancel()
				if err := <-served; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A connCounter is a listener that counts its open connections.
type connCounter struct {
	net.Listener
	open, most, all atomic.Int64
}

type countedConn struct {
	net.Conn
	close func()
}

func (c *connCounter) Accept() (net.Conn, error) {
	nc, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.most.Store(max(c.most.Load(), c.open.Add(1)))
	c.all.Add(1)
	return &countedConn{nc, sync.OnceFunc(func() { c.open.Add(-1) })}, nil
}

func (c *countedConn) Close() error {
	c.close()
	return c.Conn.Close()
}

// Idle connections do not keep others out, and their number is limited.
func TestMaxConns(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &connCounter{Listener: inner}
	s := newServer(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	for range maxConns + 100 {
		idle, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Skip("too few files may be open: ", err)
		}
		defer idle.Close()
	}
	resp, err := http.Get("http://" + inner.Addr().String() + "/nothing")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	// A connection is accepted before another one is closed for it.
	if all, most := l.all.Load(), l.most.Load(); all <= maxConns+100 || most > maxConns+1 {
		t.Errorf("%d connections, %d at the same time", all, most)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
