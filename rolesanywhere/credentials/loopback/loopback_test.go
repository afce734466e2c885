package loopback_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

// start runs Serve until the test ends or stop is called. stop returns the
// error of Serve.
func start(t *testing.T, s *loopback.Server) (addr string, stop func() error) {
	t.Helper()
	l, err := loopback.Listen(t.Context(), "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	stop = func() error {
		cancel()
		err := <-served
		served <- err
		return err
	}
	t.Cleanup(func() { stop() })
	return l.Addr().String(), stop
}

// A rawConn is a connection on which a test sends raw bytes.
type rawConn struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *rawConn {
	t.Helper()
	return dialFrom(t, addr, nil)
}

func dialFrom(t *testing.T, addr string, from net.IP) *rawConn {
	t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &rawConn{c, t, bufio.NewReader(c)}
}

// send sends text and returns the status of the response.
func (w *rawConn) send(text string) (int, error) {
	w.t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

const get = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

var ok = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })

func TestRefusals(t *testing.T) {
	var seen atomic.Int64
	addr, _ := start(t, &loopback.Server{
		Handler: ok, Hosts: []string{"pod.internal"},
		Observe: func(_ *http.Request, status int) { seen.Store(int64(status)) },
	})
	for _, test := range []struct {
		head string // after the request line
		want int
	}{
		{"Host: 127.0.0.1:9911", 200},
		{"Host: 127.0.0.1", 200},
		{"Host: localhost", 200},
		{"Host: LOCALHOST:1", 200},
		{"Host: [::1]:9911", 200},
		{"Host: [::1]", 200},
		{"Host: 169.254.170.2", 200},
		{"Host: pod.internal", 200},
		{"Host: pod.internal:80", 200},
		{"Host: evil.example", 403},
		{"Host: evil.example:9911", 403},
		{"Host: localhost.evil.example", 403},
		{"Host: 127.0.0.1.evil.example", 403},
		{"Host: xpod.internal", 403},
		{"Host: ", 403},
		{"Host: localhost\r\nX-Forwarded-For: 127.0.0.1", 403},
		{"Host: localhost\r\nX-Forwarded-For:", 403},
		{"Host: localhost\r\nx-forwarded-for: ::1", 403},
		{"Host: localhost\r\nForwarded: for=127.0.0.1", 403},
		{"Host: localhost\r\nOrigin: http://localhost", 403},
		{"Host: localhost\r\nOrigin:", 403},
		{"Host: localhost\r\nSec-Fetch-Site: same-origin", 403},
		{"Host: localhost\r\nContent-Length: 0", 200},
		{"Host: localhost\r\nContent-Length: 1\r\n\r\nx", 413},
		{"Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0", 413},
		{"Host: localhost\r\nX: " + strings.Repeat("x", 4<<10), 200},
		{"Host: localhost\r\nX: " + strings.Repeat("x", 64<<10), 431},
		{"Host: localhost\r\nHost: localhost", 400},
	} {
		name := test.head[:min(len(test.head), 60)]
		got, err := dial(t, addr).send("GET / HTTP/1.1\r\n" + test.head + "\r\n\r\n")
		if err != nil || got != test.want {
			t.Errorf("%q: status %d, %v, want %d", name, got, err, test.want)
		}
		if test.want != 431 && test.want != 400 && seen.Load() != int64(test.want) { // net/http itself sends these two
			t.Errorf("%q: observed %d", name, seen.Load())
		}
	}
}

// Any number of connections without a request do not block new connections.
// Connections whose request is being handled stay open.
func TestManyIdleConnections(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s := &loopback.Server{MaxConns: 20, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(begun)
			<-release
		}
		ok(w, r)
	})}
	addr, _ := start(t, s)
	slow := dial(t, addr)
	slowDone := make(chan error, 1)
	go func() {
		status, err := slow.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if status != 200 && err == nil {
			err = fmt.Errorf("status %d", status)
		}
		slowDone <- err
	}()
	<-begun
	regular := dial(t, addr)
	for i := range 200 {
		half := dial(t, addr)
		if i%2 == 0 {
			if _, err := io.WriteString(half, "GET / HT"); err != nil {
				t.Fatal(err)
			}
		}
		if i%10 == 0 { // a connection with regular requests stays open
			for begin := time.Now(); accepted(s) < int64(i)+3 && time.Since(begin) < 10*time.Second; {
				runtime.Gosched()
			}
			if status, err := regular.send(get); err != nil || status != 200 {
				t.Fatalf("after %d: status %d, %v", i, status, err)
			}
		}
	}
	if status, err := dial(t, addr).send(get); err != nil || status != 200 {
		t.Errorf("status %d, %v", status, err)
	}
	open, dropped := s.Conns()
	if open > 20 || dropped < 150 {
		t.Errorf("%d open, %d dropped", open, dropped)
	}
	close(release)
	if err := <-slowDone; err != nil {
		t.Error(err)
	}
}

// accepted returns the number of connections that s has accepted, provided that
// it closed connections only because of MaxConns.
func accepted(s *loopback.Server) int64 {
	open, dropped := s.Conns()
	return int64(open) + dropped
}

// If all connections are busy, a new one is closed.
func TestAllBusy(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	addr, _ := start(t, &loopback.Server{MaxConns: 2, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-release
	})})
	done := make(chan error, 2)
	for range 2 {
		w := dial(t, addr)
		go func() {
			_, err := w.send(get)
			done <- err
		}()
		<-begun
	}
	if _, err := dial(t, addr).send(get); err == nil {
		t.Error("a third connection got a response")
	}
	close(release)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Serve completes requests in flight and does not wait for idle connections.
func TestDrain(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	addr, stop := start(t, &loopback.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-release
		ok(w, r)
	})})
	begin := time.Now() // without draining, the header timeout would be 5 s
	half := dial(t, addr)
	if _, err := io.WriteString(half, "GET / HT"); err != nil {
		t.Fatal(err)
	}
	busy := dial(t, addr)
	done := make(chan error, 1)
	go func() {
		status, err := busy.send(get)
		if status != 200 && err == nil {
			err = fmt.Errorf("status %d", status)
		}
		done <- err
	}()
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	if _, err := half.r.ReadByte(); err == nil {
		t.Error("the incomplete request got a response")
	}
	if d := time.Since(begin); d >= loopback.DrainTimeout {
		t.Errorf("the connection with the incomplete request was open for %v", d)
	}
	select {
	case err := <-stopped:
		t.Fatalf("Serve returned while a request was being handled: %v", err)
	default:
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("still listening")
	}
}

// Connections closed by clients are not counted.
func TestClosedConnsAreRemoved(t *testing.T) {
	s := &loopback.Server{Handler: ok}
	addr, _ := start(t, s)
	for range 5 {
		w := dial(t, addr)
		if status, err := w.send(get); err != nil || status != 200 {
			t.Fatalf("status %d, %v", status, err)
		}
		w.Close()
	}
	for begin := time.Now(); ; runtime.Gosched() {
		if open, dropped := s.Conns(); open == 0 && dropped == 0 {
			return
		} else if time.Since(begin) > 10*time.Second {
			t.Fatalf("%d open, %d dropped", open, dropped)
		}
	}
}

func TestServeReportsListenerError(t *testing.T) {
	l, err := loopback.Listen(t.Context(), "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := (&loopback.Server{Handler: ok}).Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

// A client that never sends the body of its request does not block others: its
// connection counts as idle once the request is handled.
func TestMissingBodies(t *testing.T) {
	for _, head := range []string{
		"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1000\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
	} {
		const n = 4
		handled := make(chan struct{}, 2*n)
		addr, stop := start(t, &loopback.Server{Handler: ok, MaxConns: n, Observe: func(*http.Request, int) { handled <- struct{}{} }})
		for range n {
			if _, err := io.WriteString(dial(t, addr), head); err != nil {
				t.Fatal(err)
			}
		}
		for range n {
			select {
			case <-handled:
			case <-time.After(30 * time.Second):
				t.Fatalf("%q: no response", head)
			}
		}
		for range n {
			if status, err := dial(t, addr).send(get); err != nil || status != http.StatusOK {
				t.Errorf("%q: another connection got status %d, %v", head, status, err)
			}
		}
		begin := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took >= loopback.DrainTimeout {
			t.Errorf("%q: stopping took %v", head, took)
		}
	}
}

func TestListen(t *testing.T) {
	for _, test := range []struct {
		addr   string
		remote bool
		ok     bool
	}{
		{"127.0.0.1:0", false, true},
		{"127.0.0.2:0", false, true},
		{"localhost:0", false, true},
		{"0.0.0.0:0", false, false},
		{":0", false, false},
		{"[::]:0", false, false},
		{"192.0.2.1:0", false, false},
		{"example.com:0", false, false},
		{"127.0.0.1.example:0", false, false},
		{"0:0", false, false},
		{"[2001:db8::1]:0", false, false},
		{"[::ffff:0.0.0.0]:0", false, false},
		{"[::ffff:127.0.0.1]:0", false, true},
		{"0.0.0.0:0", true, true},
	} {
		l, err := loopback.Listen(t.Context(), test.addr, test.remote)
		if (err == nil) != test.ok || err != nil && !errors.Is(err, loopback.ErrNotLoopback) {
			t.Errorf("%s, remote %t: error %v", test.addr, test.remote, err)
		}
		if err == nil {
			l.Close()
		}
	}
	if _, err := loopback.Listen(t.Context(), "127.0.0.1", false); err == nil || errors.Is(err, loopback.ErrNotLoopback) {
		t.Errorf("no port: error %v", err)
	}
}
