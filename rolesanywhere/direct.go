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
	"time"
)

// A direct sends each request over a connection of its own, in the goroutine that calls
// RoundTrip. The Transport would start three goroutines, so that the connection can serve
// later requests. It provides the settings, and serves requests that need a proxy.
type direct struct{ *http.Transport }

// RoundTrip implements http.RoundTripper. The connection ends with the request's context,
// or when the body of the response is closed.
func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if d.Proxy != nil {
		if proxy, err := d.Proxy(r); proxy != nil || err != nil {
			return d.Transport.RoundTrip(r)
		}
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
		_ = conn.SetDeadline(time.Now().Add(d.TLSHandshakeTimeout)) // a closed connection is found below
		secure := tls.Client(conn, cfg)
		if err := secure.Handshake(); err != nil {
			return nil, err
		}
		conn = secure
	}
	_ = conn.SetDeadline(time.Now().Add(d.ResponseHeaderTimeout))
	if err := r.Write(conn); err != nil {
		return nil, err
	}
	limited := &io.LimitedReader{R: conn, N: d.MaxResponseHeaderBytes}
	reader := bufio.NewReader(limited)
	for {
		resp, err := http.ReadResponse(reader, r)
		switch {
		case err != nil && limited.N == 0:
			return nil, fmt.Errorf("headers of the response exceed %d bytes", d.MaxResponseHeaderBytes)
		case err != nil:
			return nil, err
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("the server changes to another protocol")
		case resp.StatusCode >= 200: // not informational (RFC 9110, section 15.2)
			limited.N = math.MaxInt64
			_ = conn.SetDeadline(time.Time{}) // the context limits the rest
			return resp, nil
		}
	}
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
