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

// ErrUnreachable is wrapped when no answer of the service was had: because of
// the network, or because something else answered in its place.
var ErrUnreachable = errors.New("no answer from Roles Anywhere")

// An APIError is a refusal by the service, or by something in its place: then
// it has a status alone, and what wraps it wraps [ErrUnreachable] too.
type APIError struct {
	StatusCode int
	Code       string // such as "AccessDeniedException"; may be empty
	Message    string // the service's own words; may be empty
	RequestID  string // for AWS Support; may be empty

	skew time.Duration // of the service's clock from ours
}

func (e *APIError) Error() string {
	if e.foreign() {
		return "answers with status " + strconv.Itoa(e.StatusCode)
	}
	s := "AWS answered " + strconv.Itoa(e.StatusCode)
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

// foreign reports whether nothing in the answer is the service's, so that it
// may be that of a proxy.
func (e *APIError) foreign() bool { return e.Code == "" && e.Message == "" && e.RequestID == "" }

// Hint returns the likely cause and the way out, or "" if none is known.
func (e *APIError) Hint() string {
	switch {
	case e.refusesTime():
		return fmt.Sprintf("this machine's clock is off by %v; set it, for instance by NTP", e.skew.Abs().Round(time.Second))
	case e.foreign() && e.StatusCode != http.StatusProxyAuthRequired:
		return otherServer
	}
	for _, c := range causes {
		if (c.code == "" || c.code == e.Code) && (c.status == 0 || c.status == e.StatusCode) && strings.Contains(e.Message, c.message) {
			return c.hint
		}
	}
	return ""
}

// causes maps what the service says to what is mostly behind it; the first
// entry whose parts all fit is taken. Sources: the service's documentation and
// the public issues of aws_signing_helper.
var causes = []struct {
	status        int
	code, message string
	hint          string
}{
	{message: "Insufficient certificate",
		hint: "the certificate needs keyUsage digitalSignature and CA:FALSE, and the trust anchor must hold the CA that issued it"},
	{message: "Untrusted signing certificate",
		hint: "the trust anchor holds another CA, or an intermediate certificate is missing: give it with Identity.Intermediates"},
	{message: "Untrusted certificate",
		hint: "the trust anchor does not accept the certificate: check its CA, its validity and whether it was revoked"},
	{message: "Invalid signature",
		hint: "the key must belong to the certificate, the region must be the trust anchor's, and the clock must be right"},
	{message: "DurationSeconds exceeds the MaxSessionDuration",
		hint: "ask for a shorter Config.Duration, or raise the role's maximum session duration"},
	{message: "Not authorized to set roleSessionName",
		hint: "leave out Config.SessionName, or let the profile accept it (acceptRoleSessionName)"},
	{message: "failed to be mapped into session tags",
		hint: "a name in the certificate has characters that session tags do not allow; change it, or the profile's attribute mappings"},
	{message: "Unable to assume role",
		hint: "the role must be in the profile, and its trust policy must allow rolesanywhere.amazonaws.com to sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity under conditions that this certificate meets"},
	{code: "ValidationException",
		hint: "the message names what is refused: compare the ARNs, Config.Duration and Config.SessionName with what is configured"},
	{code: "ThrottlingException", hint: throttled},
	{code: "ResourceNotFoundException",
		hint: "check the IDs in the trust anchor, profile and role ARNs, and that they are of this region"},
	{status: http.StatusNotFound,
		hint: "check the endpoint, and the IDs in the ARNs"},
	{status: http.StatusTooManyRequests, hint: throttled},
	{status: http.StatusProxyAuthRequired,
		hint: "the proxy wants a user name and password in HTTPS_PROXY"},
	{status: http.StatusForbidden,
		hint: "CloudTrail shows the CreateSession event with the reason"},
	{status: http.StatusInternalServerError, hint: trouble},
	{status: http.StatusServiceUnavailable, hint: trouble},
}

// Hints that serve in several places.
const (
	throttled   = "too many sessions at once for the account and region (10 a second by default); spread the calls or raise the quota"
	trouble     = "this is not the request's fault; try again later, and see the AWS Health Dashboard"
	otherServer = "something other than Roles Anywhere answers there: check the endpoint and the proxy"
)

// refusesTime reports whether a wrong local clock explains the refusal.
func (e *APIError) refusesTime() bool {
	return (e.StatusCode == http.StatusForbidden || e.StatusCode == http.StatusBadRequest || e.StatusCode == http.StatusUnauthorized) &&
		e.skew.Abs() > maxSkew
}

// apiError reads a refusal in the form of AWS's restJson1 protocol: the code
// in a header or in the body, in which the field names vary.
func apiError(u *url.URL, resp *http.Response, answer []byte, now time.Time) error {
	var doc struct {
		Code    string `json:"code"`
		Type    string `json:"__type"`
		Message string `json:"message"` // matches "Message" too
	}
	_ = json.Unmarshal(answer, &doc) // whatever is there; a proxy answers in HTML
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
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		e.skew = date.Sub(now)
	}
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

// printable keeps an answer from steering a terminal or filling the screen.
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

// unexpected wraps what came instead of an answer of the service.
func unexpected(u *url.URL, err error) error {
	return signer.WithHint(fmt.Errorf("%w: %s %w", ErrUnreachable, u.Host, err), otherServer)
}

// unreachable wraps an error of the transport. Whatever may pass by itself is
// transient.
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

// networkHint returns the way out of an error, and whether trying again is
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
		return "the proxy wants a user name and password in HTTPS_PROXY", true
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
		return "the server does not speak TLS there: check the endpoint's scheme and port", true
	case errors.As(err, &op) && op.Op == "remote error": // an alert
		return "the server refuses this TLS handshake; it must know TLS 1.2 or 1.3: check the endpoint and the proxy", true
	case errors.As(err, &dns) && dns.IsNotFound:
		return "check the region in the ARNs, the endpoint, and the name servers", false
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "check the network, the endpoint and the proxy (HTTPS_PROXY, NO_PROXY); Config.Timeout allows more time", false
	}
	return "check the network, the endpoint and the proxy (HTTPS_PROXY, NO_PROXY)", false
}
