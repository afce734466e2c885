package stepca

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

// Hints about what a person can do.
const (
	hintRoot   = "give the root certificate of the CA; its administrator can print it with: step ca root"
	hintEnroll = "enrol again with a one-time token; an administrator of the CA can print one with: step ca token NAME"
	hintClock  = "check the clock of this machine"
	hintServer = "a server other than step-ca responds at this address: check the URL of the CA and the proxy (HTTPS_PROXY, NO_PROXY)"
	hintProxy  = "check the proxy that HTTPS_PROXY names; NO_PROXY with the host of the CA avoids it"
)

// A failure is an error with a text of its own. It wraps one of the errors of
// [renew.Way], and its cause if there is one.
type failure struct {
	text string
	errs []error
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return f.errs }

func (c *CA) rejected(what string, cause ...error) error {
	return &failure{c.url.Host + " " + what, append(cause, renew.ErrRejected)}
}

func (c *CA) failed(what string, cause ...error) error {
	return &failure{c.url.Host + ": " + what, append(cause, renew.ErrUnreachable)}
}

// unexpected returns the error for an answer that step-ca would not give.
func (c *CA) unexpected(what string) error {
	return signer.WithHint(c.failed(what), hintServer)
}

// hints has the hint for a message of step-ca that contains a text.
var hints = []struct{ text, hint string }{
	{"certificate expired on", "the provisioner of the certificate lacks the claim allowRenewalAfterExpiry; " + hintEnroll},
	{"missing client certificate", "a proxy in front of the CA ends TLS; the CA must see the certificate of the client itself"},
	{"(nbf)", hintClock},
	{"(iat)", hintClock},
	{"(exp)", hintClock},
	{"(aud)", "use a URL with a host that the CA lists in dnsNames"},
	{"error validating renew token", "check that this CA has issued the certificate, and that the certificate of the issuer follows it in the file"},
}

func hintFor(message, otherwise string) string {
	for _, h := range hints {
		if strings.Contains(message, h.text) {
			return h.hint
		}
	}
	return otherwise
}

// refused returns the error for a request that the CA does not grant.
func (c *CA) refused(r request, status int, message string) error {
	if message == "" {
		message = fmt.Sprintf("status %d", status)
	}
	otherwise := "the log of the CA has the reason; " + hintEnroll
	if r.secret != "" {
		otherwise = "a one-time token is for one use, within some minutes and with the names that it lists; an administrator of the CA can print another one with: step ca token NAME"
	}
	return signer.WithHint(c.rejected("refuses the request: "+message), hintFor(message, otherwise))
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
func (c *CA) unreachable(ctx context.Context, r request, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	switch text := alert(err); {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", c.url.Host, err)
	case strings.Contains(text, "certificate"), strings.Contains(text, "access denied"):
		// It is about the certificate of the client (RFC 8446, section 6.2).
		return signer.WithHint(c.rejected("refuses the certificate in use: "+r.clean(err.Error()), err),
			"check that this CA has issued the certificate; if so, "+hintEnroll)
	}
	return signer.WithHint(c.failed(r.clean(err.Error()), err), networkHint(err))
}

// alert returns the text of the TLS alert that ended the connection, or "".
func alert(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return op.Err.Error()
	}
	return ""
}

// saysExpired reports whether the server refused the certificate of the client as
// expired.
func saysExpired(err error) bool { return strings.Contains(alert(err), "expired certificate") }

func networkHint(err error) string {
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
		return hintProxy
	case errors.As(err, &host):
		return "the certificate of the server is for another host: check the URL of the CA"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return hintClock + "; the certificate of the server is not valid at this time"
	case errors.As(err, &verify):
		return hintRoot
	case errors.As(err, &header):
		return "the server does not use TLS: check the port in the URL of the CA"
	}
	return "check the network, the URL of the CA and the proxy (HTTPS_PROXY, NO_PROXY)"
}
