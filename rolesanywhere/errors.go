package rolesanywhere

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/awsservice"
	"github.com/holdfast-dev/holdfast/signer"
)

// ErrUnreachable is wrapped by errors about a missing or invalid response of
// the service: the network failed, or another server responded instead.
var ErrUnreachable = errors.New("no valid response from " + serviceName)

// An APIError is an error response of the service. If another server sent the
// response, only StatusCode and Host are set and the error also wraps [ErrUnreachable].
type APIError struct {
	StatusCode int
	Code       string // such as "AccessDeniedException"; may be empty
	Message    string // as sent by the service; may be empty
	RequestID  string // for AWS Support; may be empty
	Host       string // of a server that is not one of AWS, such as an emulator; may be empty

	skew      time.Duration // the service's time minus the local time
	untrusted string        // the hint if the service does not trust the certificate
	alias     bool          // the request named the trust anchor by its alias
}

func (e *APIError) Error() string {
	if e.foreign() {
		return "returned status " + strconv.Itoa(e.StatusCode)
	}
	s := cmp.Or(e.Host, "AWS") + " returned status " + strconv.Itoa(e.StatusCode)
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
	case e.foreign() && e.StatusCode != http.StatusProxyAuthRequired && e.StatusCode != http.StatusRequestHeaderFieldsTooLarge:
		return awsservice.OtherServer(serviceName)
	case e.untrusted != "" && strings.Contains(e.Message, "Untrusted") && !strings.Contains(e.Message, "Insufficient") && !strings.Contains(e.Message, "revoked"):
		return e.untrusted
	}
	for _, c := range causes {
		if (c.code == "" || c.code == e.Code) && (c.status == 0 || c.status == e.StatusCode) && strings.Contains(e.Message, c.message) {
			if e.alias && c.message == refusedByPolicy {
				return c.hint + aliasInPolicy
			}
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
		hint: "the trust anchor holds another CA, or an intermediate certificate is missing: give it with Identity.Intermediates or in the file of Identity.Certificate"},
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
	{message: refusedByPolicy,
		hint: "the profile must contain the role, and the role's trust policy must allow sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity for rolesanywhere.amazonaws.com, with conditions that this certificate meets"},
	{code: "ValidationException",
		hint: "the message names what is refused: compare the ARNs, Config.Duration and Config.SessionName with what is configured"},
	{code: "ThrottlingException", hint: throttled},
	{code: "ResourceNotFoundException",
		hint: "the trust anchor, the profile or the role does not exist in this region; check the three ARNs: IDs and aliases are case-sensitive"},
	{status: http.StatusNotFound,
		hint: "check the endpoint, and the IDs in the ARNs"},
	{status: http.StatusTooManyRequests, hint: throttled},
	{status: http.StatusProxyAuthRequired,
		hint: awsservice.ProxyLogin},
	{status: http.StatusRequestHeaderFieldsTooLarge,
		hint: "the certificates are in the headers of the request, and a server or proxy refuses headers of this size: give only the certificates between yours and the trust anchor, or avoid the proxy"},
	{status: http.StatusForbidden,
		hint: "see the CreateSession event in CloudTrail for the reason"},
	{status: http.StatusInternalServerError, hint: trouble},
	{status: http.StatusServiceUnavailable, hint: trouble},
}

// Hints that are used in several places.
const (
	throttled = "the account exceeds its rate of sessions in this region (10 per second by default); spread the calls or request a higher quota"
	trouble   = "the service has a problem; try again later, and check the AWS Health Dashboard"
)

// A role that a policy protects, and the hint for a request with an alias. The
// service resolves the alias before IAM evaluates the policy.
const (
	refusedByPolicy = "Unable to assume role"
	aliasInPolicy   = "; a condition on aws:SourceArn needs the trust anchor's ARN with its ID, not with its alias"
)

// refusesTime reports whether a wrong local clock can explain the error.
func (e *APIError) refusesTime() bool { return awsservice.RefusesTime(e.StatusCode, e.skew) }

// ClockSkew returns the service's time minus the local time if that difference
// can explain the error, and 0 otherwise.
func (e *APIError) ClockSkew() time.Duration {
	if e.refusesTime() {
		return e.skew
	}
	return 0
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
		Code:       awsservice.Printable(code),
		Message:    awsservice.Printable(doc.Message),
		RequestID:  awsservice.Printable(resp.Header.Get("x-amzn-requestid")),
		Host:       awsservice.OtherHost(u),
	}
	clock := "local"
	if skew, ok := awsservice.Skew(resp, now); ok {
		e.skew, clock = skew, "service's"
	}
	e.untrusted = untrusted(certs, now.Add(e.skew), clock)
	if e.foreign() {
		return awsservice.MayRetry(resp, e.Code, fmt.Errorf("%w: %s %w", ErrUnreachable, u.Host, e))
	}
	return awsservice.MayRetry(resp, e.Code, e)
}
