package rolesanywhere

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/holdfast-dev/holdfast/signer"
)

// ErrUnreachable is wrapped by errors about a missing or invalid response of
// the service: the network failed, or another server responded instead.
var ErrUnreachable = errors.New("no valid response from Roles Anywhere")

// An APIError is an error response of the service. If another server sent the
// response, only StatusCode is set and the error also wraps [ErrUnreachable].
type APIError struct {
	StatusCode int
	Code       string // such as "AccessDeniedException"; may be empty
	Message    string // as sent by the service; may be empty
	RequestID  string // for AWS Support; may be empty

	skew      time.Duration // the service's time minus the local time
	untrusted string        // the hint if the service does not trust the certificate
}

func (e *APIError) Error() string {
	if e.foreign() {
		return "returned status " + strconv.Itoa(e.StatusCode)
	}
	s := "AWS returned status " + strconv.Itoa(e.StatusCode)
	for _, part := range []string{e.Code, e.Message} {
		if part != "" {
			s += ": " + part
		}
	}
	if e.RequestID != "" {
		s += " (request " + e.RequestID + ")"
	}
	return s
}

// foreign reports whether the response has no field that the service sets, so
// that another server, such as a proxy, may have sent it.
func (e *APIError) foreign() bool { return e.Code == "" && e.Message == "" && e.RequestID == "" }

// Hint returns the likely cause and a way to fix it, or "" if none is known.
func (e *APIError) Hint() string {
	switch {
	case e.refusesTime():
		return fmt.Sprintf("the local clock is off by %v; correct it, for example with NTP", e.skew.Abs().Round(time.Second))
	case e.foreign() && e.StatusCode != http.StatusProxyAuthRequired:
		return otherServer
	case e.untrusted != "" && strings.Contains(e.Message, "Untrusted") && !strings.Contains(e.Message, "Insufficient") && !strings.Contains(e.Message, "revoked"):
		return e.untrusted
	}
	for _, c := range causes {
		if (c.code == "" || c.code == e.Code) && (c.status == 0 || c.status == e.StatusCode) && strings.Contains(e.Message, c.message) {
			return c.hint
		}
	}
	return ""
}

// causes maps error responses to their most likely causes. The first entry
// whose fields all match is used. Sources: the service's documentation and the
// public issues of aws_signing_helper.
var causes = []struct {
	status        int
	code, message string
	hint          string
}{
	{message: "Insufficient certificate",
		hint: "the certificate needs keyUsage digitalSignature and CA:FALSE, and the trust anchor must contain the CA that issued it"},
	{message: "Untrusted signing certificate",
		hint: "the trust anchor holds another CA, or an intermediate certificate is missing: give it with Identity.Intermediates"},
	{message: "Untrusted certificate",
		hint: "the trust anchor does not accept the certificate: check its CA, its validity and whether it was revoked"},
	{message: "Invalid signature",
		hint: "check that the key matches the certificate, that the region is the trust anchor's, and that the clock is correct"},
	{message: "DurationSeconds exceeds the MaxSessionDuration",
		hint: "ask for a shorter Config.Duration, or raise the role's maximum session duration"},
	{message: "Not authorized to set roleSessionName",
		hint: "leave out Config.SessionName, or let the profile accept it (acceptRoleSessionName)"},
	{message: "failed to be mapped into session tags",
		hint: "a name in the certificate contains characters that session tags do not allow; change the name or the profile's attribute mappings"},
	{message: "Unable to assume role",
		hint: "the profile must contain the role, and the role's trust policy must allow sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity for rolesanywhere.amazonaws.com, with conditions that this certificate meets"},
	{code: "ValidationException",
		hint: "the message names what is refused: compare the ARNs, Config.Duration and Config.SessionName with what is configured"},
	{code: "ThrottlingException", hint: throttled},
	{code: "ResourceNotFoundException",
		hint: "check the IDs in the trust anchor, profile and role ARNs, and that the trust anchor and the profile exist in this region"},
	{status: http.StatusNotFound,
		hint: "check the endpoint, and the IDs in the ARNs"},
	{status: http.StatusTooManyRequests, hint: throttled},
	{status: http.StatusProxyAuthRequired,
		hint: proxyLogin},
	{status: http.StatusForbidden,
		hint: "see the CreateSession event in CloudTrail for the reason"},
	{status: http.StatusInternalServerError, hint: trouble},
	{status: http.StatusServiceUnavailable, hint: trouble},
}

// Hints that are used in several places.
const (
	throttled   = "the account exceeds its rate of sessions in this region (10 per second by default); spread the calls or request a higher quota"
	trouble     = "the service has a problem; try again later, and check the AWS Health Dashboard"
	otherServer = "a server other than Roles Anywhere responds at this address: check the endpoint and the proxy"
	proxyLogin  = "set HTTPS_PROXY to a URL with the user name and password for the proxy"
)

// refusesTime reports whether a wrong local clock can explain the error.
func (e *APIError) refusesTime() bool {
	return (e.StatusCode == http.StatusForbidden || e.StatusCode == http.StatusBadRequest || e.StatusCode == http.StatusUnauthorized) &&
		e.skew.Abs() > maxSkew
}

// apiError parses an error response of AWS's restJson1 protocol. The error code
// is in a header or in the body, where the field names vary.
func apiError(u *url.URL, resp *http.Response, body []byte, now time.Time, certs signer.Certificates) error {
	var doc struct {
		Code    string `json:"code"`
		Type    string `json:"__type"`
		Message string `json:"message"` // matches "Message" too
	}
	_ = json.Unmarshal(body, &doc) // ignore errors: a proxy may send HTML
	code := resp.Header.Get("x-amzn-errortype")
	if code == "" {
		code = doc.Type
	}
	if code == "" {
		code = doc.Code
	}
	code, _, _ = strings.Cut(code, ":")
	code = code[strings.LastIndex(code, "#")+1:]
	e := &APIError{
		StatusCode: resp.StatusCode,
		Code:       printable(code),
		Message:    printable(doc.Message),
		RequestID:  printable(resp.Header.Get("x-amzn-requestid")),
	}
	clock := "local"
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		e.skew, clock = date.Sub(now), "service's"
	}
	e.untrusted = untrusted(certs, now.Add(e.skew), clock)
	var err error = e
	if e.foreign() {
		err = fmt.Errorf("%w: %s %w", ErrUnreachable, u.Host, e)
	}
	if e.StatusCode == http.StatusTooManyRequests || e.StatusCode >= 500 || strings.HasPrefix(e.Code, "Throttling") {
		var after time.Duration
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
			after = time.Duration(min(s, 3600)) * time.Second
		}
		return &transient{err, after}
	}
	return err
}

// printable replaces control characters, which a terminal would interpret, and
// limits the length.
func printable(s string) string {
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

// unexpected wraps an error about a response that the service would not send.
func unexpected(u *url.URL, err error) error {
	return signer.WithHint(fmt.Errorf("%w: %s %w", ErrUnreachable, u.Host, err), otherServer)
}

// unreachable wraps an error of the transport. An error that may go away by
// itself is transient.
func unreachable(u *url.URL, err error) error {
	err = fmt.Errorf("%w: %s: %w", ErrUnreachable, u.Host, withoutURL(err))
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

// networkHint returns a hint for a network error and whether a retry is
// pointless.
func networkHint(err error) (hint string, final bool) {
	var (
		proxy   *proxyError
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
	case errors.As(err, &proxy) && proxy.status == http.StatusProxyAuthRequired:
		return proxyLogin, true
	case errors.As(err, &proxy):
		return "the proxy that HTTPS_PROXY names does not let this host pass; NO_PROXY or TransportConfig.NoProxy avoids it", proxy.status < 500
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
