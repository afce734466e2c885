package rolesanywhere

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func singleUse(t *testing.T, caBundle []byte) direct {
	t.Helper()
	transport, err := NewTransport(TransportConfig{SingleUse: true, CABundle: caBundle})
	if err != nil {
		t.Fatal(err)
	}
	return transport.(direct)
}

func get(ctx context.Context, t *testing.T, transport http.RoundTripper, url string) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	return transport.RoundTrip(r)
}

func TestDirectTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
		fmt.Fprintf(w, " for %s by %s", r.TLS.ServerName, r.Proto)
	}))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d := singleUse(t, signertest.CertPEM(server.Certificate()))
	d.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "example.com:"+port {
			return nil, fmt.Errorf("dials %s", address)
		}
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	}
	resp, err := get(t.Context(), t, d, "https://example.com:"+port) // the certificate of httptest is for it
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "body for example.com by HTTP/1.1" {
		t.Errorf("%s, %v", body, err)
	}
	d = singleUse(t, signertest.CertPEM(signertest.NewCA(t, "another").Cert))
	if _, err := get(t.Context(), t, d, server.URL); !isAs[*tls.CertificateVerificationError](err) {
		t.Errorf("%v, want an error about the certificate", err)
	}
}

func isAs[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func TestDirectPorts(t *testing.T) {
	for url, want := range map[string]string{
		"http://a.example/x": "a.example:80", "https://b.example": "b.example:443", "https://[::1]": "[::1]:443", "http://c.example:8080": "c.example:8080",
		"https://b\u00fccher.example": "xn--bcher-kva.example:443",
	} {
		d := singleUse(t, nil)
		d.DialContext = func(_ context.Context, _, address string) (net.Conn, error) {
			return nil, errors.New("dials " + address)
		}
		if _, err := get(t.Context(), t, d, url); err == nil || err.Error() != "dials "+want {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
	}
	if _, err := get(t.Context(), t, singleUse(t, nil), "ftp://127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "unsupported protocol") {
		t.Errorf("%v, want that ftp is not supported", err)
	}
}

// answer is a server that sends a text in response to each request.
func answer(t *testing.T, text string) (url string) {
	t.Helper()
	return serve(t, func(conn net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(conn, text)
	})
}

// serve is a server that calls f with each connection.
func serve(t *testing.T, f func(net.Conn)) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				f(conn)
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

func TestDirectResponses(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for name, test := range map[string]struct{ sent, body, err string }{
		"plain":               {ok, "ok", ""},
		"informational first": {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok, "ok", ""},
		"only informational":  {strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 10_000), "", "headers of the response exceed 65536 bytes"},
		"long header":         {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100_000) + "\r\n\r\n", "", "headers of the response exceed 65536 bytes"},
		"many headers":        {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 100_000) + "\r\n", "", "headers of the response exceed 65536 bytes"},
		"long body":           {"HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 100_000), strings.Repeat("x", 100_000), ""},
		"chunks":              {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok", ""},
		"other protocol":      {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "", ""},
		"no HTTP":             {"220 mail.example ESMTP\r\n", "", "malformed HTTP"},
		"nothing":             {"", "", "EOF"},
	} {
		resp, err := get(t.Context(), t, singleUse(t, nil), answer(t, test.sent))
		if err != nil {
			if test.err == "" || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: %v, want %q", name, err, test.err)
			}
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if test.err != "" || err != nil || string(body) != test.body {
			t.Errorf("%s: %d bytes, %v; want %d bytes, %q", name, len(body), err, len(test.body), test.err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Both kinds of transports fail in a way that leads to the same retries and hints.
func TestDirectFails(t *testing.T) {
	const other, slow = "a server other than Roles Anywhere", "Config.Timeout allows more time"
	for _, test := range []struct {
		name, sent string
		attempts   int32
		hint       string
	}{
		{"other protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 1, other},
		{"no such status", "HTTP/1.1 099 No\r\n\r\n", 1, other},
		{"stops in a line", "HTTP/1.1 2", 4, slow},
		{"says nothing", "", 4, slow},
	} {
		for _, single := range []bool{false, true} {
			var conns atomic.Int32
			url := serve(t, func(conn net.Conn) {
				conns.Add(1)
				_, _ = conn.Read(make([]byte, 1))
				_, _ = io.WriteString(conn, test.sent)
				if strings.HasSuffix(test.sent, "\n") {
					_ = conn.(*net.TCPConn).CloseWrite() // the response is complete
				}
				_, _ = io.Copy(io.Discard, conn) // until the client gives up
			})
			transport, err := NewTransport(TransportConfig{SingleUse: single})
			if err != nil {
				t.Fatal(err)
			}
			settings, _ := transport.(*http.Transport)
			if single {
				settings = transport.(direct).Transport
			}
			settings.ResponseHeaderTimeout = 100 * time.Millisecond
			client := clientOf(t, transport, url)
			_, err = client.Credentials(t.Context())
			if !errors.Is(err, ErrUnreachable) || !strings.Contains(signer.Hint(err), test.hint) || conns.Load() != test.attempts {
				t.Errorf("%s, single use: %t: %v, hint %q, %d attempts, want %d", test.name, single, err, signer.Hint(err), conns.Load(), test.attempts)
			}
		}
	}
}

// clientOf returns a client for a server, with time for all attempts.
func clientOf(t *testing.T, transport http.RoundTripper, url string) *Client {
	t.Helper()
	client, _, _ := scripted(t, nil)
	client.cfg.Transport, client.cfg.Timeout = transport, time.Minute
	client.endpoint.Scheme, client.endpoint.Host, _ = strings.Cut(url, "://")
	return client
}

// A server that ends the connection before it has read the request can say why.
func TestDirectReadsAlerts(t *testing.T) {
	ca := signertest.NewCA(t, "CA")
	key := signertest.Key(t, "p256")
	cert := ca.Issue(t, key, func(c *x509.Certificate) {
		c.IPAddresses, c.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	config := &tls.Config{
		Certificates: []tls.Certificate{{PrivateKey: key, Certificate: [][]byte{cert.Raw}}},
		ClientAuth:   tls.RequireAnyClientCert, // TLS 1.3 says only after the client's handshake that there is none
	}
	ended := make(chan struct{})
	url := serve(t, func(conn net.Conn) {
		_ = tls.Server(conn, config).Handshake()
		conn.Close()
		ended <- struct{}{}
	})
	d := singleUse(t, signertest.CertPEM(ca.Cert))
	d.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &lateConn{conn, ended, 2}, err
	}
	_, err := clientOf(t, d, "https"+strings.TrimPrefix(url, "http")).Credentials(t.Context())
	if !strings.Contains(signer.Hint(err), "the server rejected the TLS handshake") {
		t.Errorf("%v, hint %q", err, signer.Hint(err))
	}
}

// A lateConn writes the last part of the TLS handshake, and fails to write more after
// the server has closed the connection.
type lateConn struct {
	net.Conn
	ended  chan struct{}
	writes int // left
}

func (c *lateConn) Write(p []byte) (int, error) {
	if c.writes--; c.writes >= 0 {
		return c.Conn.Write(p)
	}
	<-c.ended
	return 0, &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
}

// A server that does not finish the TLS handshake is not awaited for longer than the limit.
func TestDirectHandshakeIsLimited(t *testing.T) {
	url := serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	d := singleUse(t, nil)
	d.TLSHandshakeTimeout = 100 * time.Millisecond
	if _, err := get(t.Context(), t, d, "https"+strings.TrimPrefix(url, "http")); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no TLS handshake within 100ms") {
		t.Errorf("%v", err)
	}
}

// The end of the context, and the end of the body, close the connection.
func TestDirectCloses(t *testing.T) {
	closed := make(chan struct{}, 2)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "begin")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		closed <- struct{}{}
	}))
	defer server.Close()
	for _, cancelled := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := get(ctx, t, singleUse(t, nil), server.URL)
		if err != nil {
			t.Fatal(err)
		}
		if cancelled {
			cancel()
			if _, err := io.ReadAll(resp.Body); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want that the context was cancelled", err)
			}
		} else {
			resp.Body.Close()
		}
		<-closed
		cancel()
		resp.Body.Close()
	}
}

// The Transport talks to proxies.
func TestDirectProxy(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "proxy for ", r.URL) }))
	defer proxy.Close()
	d := singleUse(t, nil)
	defer d.CloseIdleConnections()
	d.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	resp, err := get(t.Context(), t, d, "http://holdfast.invalid/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "proxy for http://holdfast.invalid/x" {
		t.Errorf("%s, %v", body, err)
	}
	d.Proxy = func(*http.Request) (*url.URL, error) { return nil, errors.New("no URL") }
	if _, err := get(t.Context(), t, d, "http://holdfast.invalid/x"); err == nil || !strings.Contains(err.Error(), "no URL") {
		t.Errorf("%v", err)
	}
}
