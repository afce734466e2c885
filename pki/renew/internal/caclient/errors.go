package caclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/signer"
)

// HintClock is for a time that the machine and the CA see differently.
const HintClock = "check the clock of this machine"

// A failure is an error with a text of its own. It wraps one of the errors of
// [renew.Way], and its cause if there is one.
type failure struct {
	text string
	errs []error
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return f.errs }

// Rejected returns an error that wraps [renew.ErrRejected].
func (c *Client) Rejected(what string, cause ...error) error {
	return &failure{c.url.Host + " " + what, append(cause, renew.ErrRejected)}
}

// Failed returns an error that wraps [renew.ErrUnreachable].
func (c *Client) Failed(what string, cause ...error) error {
	return &failure{c.url.Host + ": " + what, append(cause, renew.ErrUnreachable)}
}

// Unexpected returns the error for an answer that the CA would not give.
func (c *Client) Unexpected(what string) error {
	return signer.WithHint(c.Failed(what),
		"a server other than "+c.config.Hints.Software+" responds at this address: check the URL of the CA and the proxy (HTTPS_PROXY, NO_PROXY)")
}

// A timeoutError is the cause of the end of a request.
type timeoutError struct{ limit time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("the time limit of %v has passed", e.limit) }
func (e *timeoutError) Unwrap() error { return context.DeadlineExceeded }

// A proxyError is the answer of a proxy that does not open a tunnel.
type proxyError struct {
	host   string
	status int
}

func (e *proxyError) Error() string {
	return fmt.Sprintf("the proxy %s answers with status %d", e.host, e.status)
}

// unreachable returns the error for r, which got no answer.
func (c *Client) unreachable(ctx context.Context, r Request, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	switch text := alert(err); {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", c.url.Host, err)
	case strings.Contains(text, "certificate"), strings.Contains(text, "access denied"):
		// It is about the certificate of the client (RFC 8446, section 6.2).
		return signer.WithHint(c.Rejected("refuses the certificate in use: "+r.Clean(err.Error()), err),
			"check that this CA has issued the certificate; if so, "+c.config.Hints.Enroll)
	}
	return signer.WithHint(c.Failed(r.Clean(err.Error()), err), c.networkHint(err))
}

// alert returns the text of the TLS alert that ended the connection, or "".
func alert(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return op.Err.Error()
	}
	return ""
}

// SaysExpired reports whether the server refused the certificate of the client as
// expired.
func SaysExpired(err error) bool { return strings.Contains(alert(err), "expired certificate") }

func (c *Client) networkHint(err error) string {
	var (
		proxy   *proxyError
		op      *net.OpError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		verify  *tls.CertificateVerificationError
		header  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &proxy) && proxy.status == http.StatusProxyAuthRequired:
		return "set HTTPS_PROXY to a URL with the user name and password for the proxy"
	case errors.As(err, &proxy), errors.As(err, &op) && op.Op == "proxyconnect":
		return "check the proxy that HTTPS_PROXY names; NO_PROXY with the host of the CA avoids it"
	case errors.As(err, &host):
		return "the certificate of the server is for another host: check the URL of the CA"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return HintClock + "; the certificate of the server is not valid at this time"
	case errors.As(err, &verify):
		return c.config.Hints.Roots
	case errors.As(err, &header):
		return "the server does not use TLS: check the port in the URL of the CA"
	}
	return "check the network, the URL of the CA and the proxy (HTTPS_PROXY, NO_PROXY)"
}
