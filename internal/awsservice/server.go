package awsservice

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
)

// maxResponse is the maximum size of a response in bytes. A regular response has
// about 2 KiB.
const maxResponse = 1 << 20

// ProxyLogin is the hint for a proxy that requires a user name and a password.
const ProxyLogin = "set HTTPS_PROXY to a URL with the user name and password for the proxy"

// A Server is the server of an API.
type Server struct {
	Name        string // of the service, such as "STS"
	URL         *url.URL
	Unreachable error // wrapped by the errors about a missing or invalid response
	Transport   http.RoundTripper
	Logger      *slog.Logger
}

// Exchange sends r and returns the response with its body. The response is a
// success or an error with a status of 400 or above. The error wraps
// Unreachable.
func (s Server) Exchange(r *http.Request) (*http.Response, []byte, error) {
	resp, err := s.RoundTrip(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err != nil {
		return nil, nil, s.unreachable(err)
	}
	s.Logger.Debug("received response", "status", resp.StatusCode, "bytes", len(body), "request_id", Printable(resp.Header.Get("x-amzn-requestid")))
	switch {
	case len(body) > maxResponse:
		err = fmt.Errorf("returned more than %d KiB", maxResponse>>10)
	case resp.StatusCode >= 400:
	case resp.StatusCode >= 300:
		err = fmt.Errorf("returned a redirect to %q with status %d", Clip(resp.Header.Get("Location")), resp.StatusCode)
	case resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK:
		err = fmt.Errorf("returned status %d", resp.StatusCode)
	}
	if err != nil {
		return nil, nil, s.Unexpected(err)
	}
	return resp, body, nil
}

// RoundTrip sends r and returns the response, whatever its status is. The caller
// closes its body. The error wraps Unreachable.
func (s Server) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.Transport.RoundTrip(r)
	if err != nil {
		return nil, s.unreachable(err)
	}
	return resp, nil
}

// Check returns an error about a session whose credentials are not usable.
func (s Server) Check(c credentials.Credentials, now time.Time) error {
	err := c.Check(now)
	if err == nil {
		return nil
	}
	err = s.Unexpected(fmt.Errorf("returned a session, but the %w", err))
	if !c.Expires.IsZero() {
		err = signer.WithHint(err, "check this machine's clock and the endpoint")
	}
	return err
}

// Unexpected wraps an error about a response that the service would not send.
func (s Server) Unexpected(err error) error {
	return signer.WithHint(fmt.Errorf("%w: %s %w", s.Unreachable, s.URL.Host, err), OtherServer(s.Name))
}

// OtherServer returns the hint for a response that the service would not send.
func OtherServer(name string) string {
	return "a server other than " + name + " responds at this address: check the endpoint and the proxy"
}

// unreachable wraps an error of the transport. An error that may go away by
// itself is transient.
func (s Server) unreachable(err error) error {
	err = fmt.Errorf("%w: %s: %w", s.Unreachable, s.URL.Host, withoutURL(err))
	hint, final := networkHint(err)
	err = signer.WithHint(err, hint)
	if final {
		return err
	}
	return &transient{err: err}
}

func withoutURL(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

// A ProxyError is the response of a proxy that refuses to open a tunnel.
type ProxyError struct {
	Host   string
	Status int
}

// Error implements error.
func (e *ProxyError) Error() string {
	return fmt.Sprintf("proxy %s returned status %d", e.Host, e.Status)
}

// networkHint returns a hint for a network error and whether a retry is
// pointless.
func networkHint(err error) (hint string, final bool) {
	var (
		proxy   *ProxyError
		op      *net.OpError
		verify  *tls.CertificateVerificationError
		invalid x509.CertificateInvalidError
		header  tls.RecordHeaderError
		dns     *net.DNSError
		host    x509.HostnameError
		timeout interface {
			error
			Timeout() bool
		}
	)
	switch {
	case errors.Is(err, context.Canceled):
		return "", true
	case errors.As(err, &proxy) && proxy.Status == http.StatusProxyAuthRequired:
		return ProxyLogin, true
	case errors.As(err, &proxy):
		return "the proxy that HTTPS_PROXY names does not let this host pass; NO_PROXY or TransportConfig.NoProxy avoids it", proxy.Status < 500
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return "check the proxy that HTTPS_PROXY names; NO_PROXY or TransportConfig.NoProxy avoids it", false
	case errors.As(err, &host):
		return "the server's certificate is for another host: check the endpoint and the proxy", true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate is not valid at this time: check this machine's clock, the endpoint and the proxy", true
	case errors.As(err, &verify):
		return "if a proxy or a private CA stands in between, give its certificate with TransportConfig.CABundle", true
	case errors.As(err, &header):
		return "the server does not use TLS: check the scheme and port of the endpoint", true
	case errors.As(err, &op) && op.Op == "remote error": // an alert
		return "the server rejected the TLS handshake; it must support TLS 1.2 or 1.3: check the endpoint and the proxy", true
	case errors.As(err, &dns) && dns.IsNotFound:
		return "check the region in the ARNs, the endpoint, and the DNS servers", false
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "check the network, the endpoint and the proxy (HTTPS_PROXY, NO_PROXY); Config.Timeout allows more time", false
	}
	return "check the network, the endpoint and the proxy (HTTPS_PROXY, NO_PROXY)", false
}

// Printable replaces control characters, which a terminal would interpret, and
// limits the length.
func Printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	if r := []rune(s); len(r) > 500 {
		s = string(r[:500]) + "…"
	}
	return strings.TrimSpace(s)
}

// Clip limits the length of a text in an error.
func Clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}
