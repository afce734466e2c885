package loopback_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

// A page accepts the requests of a browser, unless another page makes them.
func TestGuardPage(t *testing.T) {
	for _, test := range []struct {
		host, header, value string
		want                int
	}{
		{"127.0.0.1:9910", "", "", 200},
		{"localhost:9910", "Sec-Fetch-Site", "none", 200},
		{"[::1]:9910", "Sec-Fetch-Site", "same-origin", 200},
		{"127.0.0.1:9910", "Origin", "http://127.0.0.1:9910", 200},
		{"127.0.0.1:9910", "Origin", "http://localhost:9910", 403},
		{"127.0.0.1:9910", "Origin", "http://127.0.0.1:9911", 403},
		{"127.0.0.1:9910", "Origin", "null", 403},
		{"127.0.0.1:9910", "Origin", "", 403},
		{"127.0.0.1:9910", "Sec-Fetch-Site", "same-site", 403},
		{"127.0.0.1:9910", "Sec-Fetch-Site", "cross-site", 403},
		{"127.0.0.1:9910", "Sec-Fetch-Site", "", 403},
		{"127.0.0.1:9910", "X-Forwarded-For", "127.0.0.1", 403},
		{"evil.example:9910", "", "", 403},
		{"evil.example:9910", "Origin", "http://evil.example:9910", 403},
		{"evil.example:9910", "Sec-Fetch-Site", "same-origin", 403},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = test.host
		if test.header != "" {
			r.Header[test.header] = []string{test.value}
		}
		w := httptest.NewRecorder()
		loopback.GuardPage(ok).ServeHTTP(w, r)
		if w.Code != test.want {
			t.Errorf("Host %s, %s %q: status %d, want %d", test.host, test.header, test.value, w.Code, test.want)
		}
	}
}

// A Server with a page accepts the requests of a browser, also for its other paths, and
// no others.
func TestServerWithPage(t *testing.T) {
	addr, _ := start(t, &loopback.Server{Handler: ok, Hosts: []string{"pod.internal"}, Page: true})
	for head, want := range map[string]int{
		"Host: localhost\r\nSec-Fetch-Site: none":                               200,
		"Host: localhost\r\nSec-Fetch-Site: same-origin":                        200,
		"Host: pod.internal":                                                    200,
		"Host: localhost\r\nSec-Fetch-Site: cross-site":                         403,
		"Host: localhost\r\nOrigin: http://evil.example":                        403,
		"Host: localhost\r\nOrigin: http://localhost\r\nOrigin: null":           403,
		"Host: localhost\r\nSec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site": 403,
		"Host: localhost\r\nX-Forwarded-For: 127.0.0.1":                         403,
		"Host: evil.example":                                                    403,
		"Host: evil.example\r\nSec-Fetch-Site: none":                            403,
		"Host: evil.example\r\nOrigin: http://evil.example":                     403,
		"Host: localhost\r\nSec-Fetch-Site: none\r\nContent-Length: 1\r\n\r\nx": 413,
	} {
		if got, err := dial(t, addr).send("GET / HTTP/1.1\r\n" + head + "\r\n\r\n"); err != nil || got != want {
			t.Errorf("%q: status %d, %v, want %d", head, got, err, want)
		}
	}
}

func TestFromThisMachine(t *testing.T) {
	for _, test := range []struct {
		client, server string
		want           bool
	}{
		{"127.0.0.1:1", "127.0.0.1:9912", true},
		{"127.9.9.9:1", "127.0.0.1:9912", true},
		{"[::1]:1", "[::1]:9912", true},
		{"[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:9912", true},
		{"192.0.2.1:1", "192.0.2.1:9912", true},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:9912", true},
		{"[fe80::1%lo]:1", "[fe80::1%lo]:9912", true},
		{"192.0.2.2:1", "192.0.2.1:9912", false},
		{"192.0.2.2:1", "127.0.0.1:9912", false},
		{"[2001:db8::2]:1", "[2001:db8::1]:9912", false},
		{"[fe80::1%a]:1", "[fe80::1%b]:9912", false},
		{"0.0.0.0:1", "192.0.2.1:9912", false},
		{"", "127.0.0.1:9912", false},
		{"@", "127.0.0.1:9912", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = test.client
		server := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(test.server))
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(server)))
		if got := loopback.FromThisMachine(r); got != test.want {
			t.Errorf("client %q, server %s: %t, want %t", test.client, test.server, got, test.want)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if r.RemoteAddr = "192.0.2.1:1"; loopback.FromThisMachine(r) {
		t.Error("a client is on this machine although the address of the server is not known")
	}
}
