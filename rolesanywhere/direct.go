package rolesanywhere

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// A direct sends each request over a connection of its own, in the goroutine that calls
// RoundTrip. The Transport would start three goroutines, so that the connection can serve
// later requests. It provides the settings, and serves requests that are not simple.
type direct struct{ *http.Transport }

// isSimple reports whether r needs no proxy, no other scheme than that of HTTP, and no
// host name in Punycode (RFC 3492).
func (d direct) isSimple(r *http.Request) bool {
	if d.Proxy != nil {
		if proxy, err := d.Proxy(r); proxy != nil || err != nil {
			return false
		}
	}
	return (r.URL.Scheme == "https" || r.URL.Scheme == "http") &&
		!strings.ContainsFunc(r.URL.Host, func(c rune) bool { return c > unicode.MaxASCII })
}

// RoundTrip implements http.RoundTripper. The connection ends with the request's context,
// or when the body of the response is closed.
func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if !d.isSimple(r) {
		return d.Transport.RoundTrip(r)
	}
	if r.Body != nil {
		defer r.Body.Close()
	}
	ctx := r.Context()
	port := r.URL.Port()
	switch {
	case port != "":
	case r.URL.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(r.URL.Hostname(), port))
	if err != nil {
		return nil, cmp.Or(ctx.Err(), err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	resp, err := d.exchange(conn, r)
	if err != nil {
		stop()
		conn.Close()
		return nil, cmp.Or(ctx.Err(), err)
	}
	resp.Body = &directBody{resp.Body, ctx, conn, stop}
	return resp, nil
}

// exchange sends r and returns the response, whose body is still to be read from conn.
func (d direct) exchange(conn net.Conn, r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "https" {
		cfg := d.TLSClientConfig.Clone()
		cfg.ServerName = r.URL.Hostname()
		limit := begin(conn, "TLS handshake", d.TLSHandshakeTimeout)
		secure := tls.Client(conn, cfg)
		if err := secure.Handshake(); err != nil {
			return nil, limit.explain(err)
		}
		conn = secure
	}
	limit := begin(conn, "headers of a response", d.ResponseHeaderTimeout)
	// A server that refuses a request may close the connection before it has read all of
	// it. Its response, or its TLS alert, is then still to be read.
	if err := r.Write(conn); err != nil {
		if _, ok := errors.AsType[*net.OpError](err); !ok {
			return nil, err
		}
	}
	limited := &io.LimitedReader{R: conn, N: d.MaxResponseHeaderBytes}
	reader := bufio.NewReader(limited)
	for {
		resp, err := http.ReadResponse(reader, r)
		switch {
		case err != nil && limited.N == 0:
			return nil, fmt.Errorf("headers of the response exceed %d bytes", d.MaxResponseHeaderBytes)
		case err != nil:
			return nil, limit.explain(err)
		case resp.StatusCode == http.StatusSwitchingProtocols, resp.StatusCode/100 != 1: // not informational (RFC 9110, section 15.2)
			limited.N = math.MaxInt64
			_ = conn.SetDeadline(time.Time{}) // the context limits the rest
			return resp, nil
		}
	}
}

// A stepLimit is the time limit of a step.
type stepLimit struct {
	step string
	time time.Duration
	end  time.Time
}

// begin sets the time limit of a step on conn.
func begin(conn net.Conn, step string, limit time.Duration) stepLimit {
	l := stepLimit{step, limit, time.Now().Add(limit)}
	_ = conn.SetDeadline(l.end) // the step fails if conn is closed
	return l
}

// explain returns the error of the step. One after the end is about the limit, whatever
// it says: http.ReadResponse says only that the line that it had begun to read is malformed.
func (l stepLimit) explain(err error) error {
	if time.Now().Before(l.end) {
		return err
	}
	return fmt.Errorf("no %s within %v: %w", l.step, l.time, context.DeadlineExceeded)
}

// A directBody is the body of a response, with the connection that it is read from.
type directBody struct {
	io.Reader
	ctx  context.Context
	conn net.Conn
	stop func() bool
}

func (b *directBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = cmp.Or(b.ctx.Err(), err)
	}
	return n, err
}

func (b *directBody) Close() error {
	b.stop()
	return b.conn.Close()
}
