package rolesanywhere

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/awsservice"
	"github.com/holdfast-dev/holdfast/internal/logging"
)

// EndpointURL returns the URL to which a Client with cfg sends its requests, or
// nil if [Config.Check] returns an error.
func (cfg Config) EndpointURL() *url.URL {
	c := &Client{cfg: cfg}
	if c.init() != nil {
		return nil
	}
	return c.endpoint
}

// A Reached describes a connection to the service, as far as it succeeded.
type Reached struct {
	URL       *url.URL
	Addresses []string             // of the host, or of the proxy; empty: no name was resolved
	Server    string               // address of the server or proxy to which the connection was made; "": none
	TLS       *tls.ConnectionState // nil: no handshake succeeded
	Date      time.Time            // the server's; zero: none
	Status    int                  // of the response
}

// Reach sends one HEAD request to the endpoint of cfg, without a signature. Any
// response that has the form of HTTP is a success, whatever its status is. The
// error wraps [ErrUnreachable], or [ErrConfig] if no request was sent. The result
// is valid with an error too.
func (cfg Config) Reach(ctx context.Context) (reached Reached, err error) {
	c, err := newClient(cfg)
	if err != nil {
		return Reached{}, err
	}
	ctx, cancel := await.Limit(ctx, c.cfg.Timeout)
	defer cancel()
	r := Reached{URL: c.endpoint}
	var traced Reached
	var mu sync.Mutex // a dial can go on after the end of ctx
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		reached.Addresses, reached.Server = slices.Clone(traced.Addresses), traced.Server
	}()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSDone: func(info httptrace.DNSDoneInfo) {
			mu.Lock()
			defer mu.Unlock()
			for _, a := range info.Addrs {
				traced.Addresses = append(traced.Addresses, a.String())
			}
		},
		GotConn: func(info httptrace.GotConnInfo) {
			mu.Lock()
			defer mu.Unlock()
			traced.Server = info.Conn.RemoteAddr().String()
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, c.endpoint.String(), nil)
	if err != nil {
		return r, err
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	server := awsservice.Server{Name: "Roles Anywhere", URL: c.endpoint, Unreachable: ErrUnreachable, Transport: c.cfg.Transport, Logger: logging.OrDiscard(c.cfg.Logger)}
	resp, err := server.RoundTrip(req)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	r.TLS, r.Status = resp.TLS, resp.StatusCode
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		r.Date = date
	}
	return r, nil
}
