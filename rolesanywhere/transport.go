package rolesanywhere

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/holdfast-dev/holdfast/internal/awsservice"
)

// Time limits for the parts of one attempt. Connecting includes the DNS lookup,
// which takes 5 s longer if the first name server is down.
const (
	connectTimeout = 7 * time.Second
	tlsTimeout     = 6 * time.Second
	headerTimeout  = 7 * time.Second
)

// A TransportConfig configures the HTTP connection to the service.
type TransportConfig struct {
	CABundle           []byte // PEM; nil: the system's trusted certificates
	NoProxy            bool   // ignore HTTPS_PROXY, HTTP_PROXY and NO_PROXY
	InsecureSkipVerify bool   // do not verify the server certificate

	// SingleUse gives each request a connection of its own, without goroutines. It
	// makes a process faster that sends one or two requests. A proxy is used as without
	// SingleUse.
	SingleUse bool
}

// NewTransport returns an HTTP transport that requires TLS 1.2 or later and
// limits the time of each step. It never reads the shared AWS configuration.
func NewTransport(cfg TransportConfig) (http.RoundTripper, error) {
	t := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:    tlsTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConns:           1,
		DisableCompression:     true, // responses are small; this prevents decompression bombs
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
			return &awsservice.ProxyError{Host: proxy.Host, Status: resp.StatusCode}
		}
	}
	if cfg.CABundle != nil {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(cfg.CABundle) {
			return nil, errors.New("contains no PEM certificate")
		}
		t.TLSClientConfig.RootCAs = pool
	}
	if cfg.SingleUse {
		return direct{t}, nil
	}
	return t, nil
}
