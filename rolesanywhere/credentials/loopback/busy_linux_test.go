package loopback_test

import (
	"net"
	"net/http"
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

// A client whose requests are in progress on all connections does not keep out clients
// with other addresses. They all get a part.
func TestManyBusyConnections(t *testing.T) {
	const limit = 8
	begun, release := make(chan struct{}), make(chan struct{})
	s := &loopback.Server{MaxConns: limit, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-release
		ok(w, r)
	})}
	addr, _ := start(t, s)
	type result struct {
		from   byte
		status int
	}
	results := make(chan result)
	send := func(from byte) {
		c := dialFrom(t, addr, net.IPv4(127, 0, 0, from))
		go func() {
			status, err := c.send(get)
			if err != nil {
				status = 0
			}
			results <- result{from, status}
		}()
	}
	for range limit {
		send(1)
		<-begun
	}
	for range 2 * limit { // more of the same are closed
		send(1)
		if r := <-results; r != (result{1, 0}) {
			t.Fatalf("%+v", r)
		}
	}
	for from := byte(2); from < 6; from++ { // each takes one of the first
		send(from)
		if r := <-results; r != (result{1, 0}) {
			t.Fatalf("%+v", r)
		}
		<-begun
	}
	quiet := dialFrom(t, addr, net.IPv4(127, 0, 0, 9)) // its request comes later
	if r := <-results; r != (result{1, 0}) {
		t.Fatalf("%+v", r)
	}
	send(1)
	if r := <-results; r != (result{1, 0}) {
		t.Fatalf("%+v", r)
	}
	close(release)
	go func() { <-begun }()
	if status, err := quiet.send(get); err != nil || status != 200 {
		t.Errorf("the connection without a request: status %d, %v", status, err)
	}
	got := make(map[byte]int)
	for range limit - 1 {
		r := <-results
		if got[r.from]++; r.status != 200 {
			t.Errorf("%+v", r)
		}
	}
	if got[1] != limit-5 || len(got) != 5 {
		t.Errorf("responses: %v", got)
	}
}
