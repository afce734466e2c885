package rolesanywhere

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// The longest that the parts of one attempt may take. Connecting includes
// looking up the name, where a first name server that is down costs 5 s.
const (
	connectTimeout = 7 * time.Second
	tlsTimeout     = 6 * time.Second
	headerTimeout  = 7 * time.Second
)

// A TransportConfig is how to reach the service over HTTP.
type TransportConfig struct {
	CABundle           []byte // PEM; nil: the system's certificates
	NoProxy            bool   // ignore HTTPS_PROXY, HTTP_PROXY and NO_PROXY
	InsecureSkipVerify bool   // believe any server
}

// NewTransport returns an HTTP transport with TLS 1.2 or better and a limit on
// the time of everything. It never follows the shared AWS configuration.
func NewTransport(cfg TransportConfig) (http.RoundTripper, error) {
	t := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:    tlsTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConns:           1,
		DisableCompression:     true, // answers are small, and a bomb is not
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			InsecureSkipVerify: cfg.InsecureSkipVerify,
		},
	}
	if !cfg.NoProxy {
		t.Proxy = http.ProxyFromEnvironment
		t.OnProxyConnectResponse = func(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			return &proxyError{proxy.Host, resp.StatusCode}
		}
	}
	if cfg.CABundle != nil {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(cfg.CABundle) {
			return nil, errors.New("holds no PEM certificate")
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return t, nil
}

// A proxyError is the answer of a proxy that opens no tunnel.
type proxyError struct {
	host   string
	status int
}

func (e *proxyError) Error() string {
	return fmt.Sprintf("proxy %s answers with status %d", e.host, e.status)
}
