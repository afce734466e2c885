package loopback_test

import (
	"net"
	"net/http"
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

// With Share, a client whose requests are in progress on all connections that it may have
// does not keep out a client with another address.
func TestShare(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s := &loopback.Server{MaxConns: 8, Share: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			begun <- struct{}{}
			<-release
		}
		ok(w, r)
	})}
	addr, _ := start(t, s)
	done := make(chan error, 4)
	for range 4 {
		slow := dial(t, addr)
		go func() {
			_, err := slow.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
			done <- err
		}()
		<-begun
	}
	for range 20 {
		if _, err := dial(t, addr).send(get); err == nil {
			t.Fatal("more than half of the connections belong to one address")
		}
	}
	other := dialFrom(t, addr, net.IPv4(127, 0, 0, 2))
	if status, err := other.send(get); err != nil || status != 200 {
		t.Errorf("another address: status %d, %v", status, err)
	}
	close(release)
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if status, err := dial(t, addr).send(get); err != nil || status != 200 {
		t.Errorf("after that: status %d, %v", status, err)
	}
}
