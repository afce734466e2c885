package privateca

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/awsservice"
	"github.com/holdfast-dev/holdfast/internal/lazyregexp"
	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
)

// errUnreachable is [renew.ErrUnreachable] with the name of the service.
var errUnreachable error = unreachable{}

type unreachable struct{}

func (unreachable) Error() string        { return "no valid response from AWS Private CA" }
func (unreachable) Is(target error) bool { return target == renew.ErrUnreachable }

// A timeoutError is the cause of the end of a request.
type timeoutError struct{ limit time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("the time limit of %v has passed", e.limit) }
func (e *timeoutError) Unwrap() error { return context.DeadlineExceeded }

// networkError returns the error for a request without an answer. If the caller has
// given up, that is no fault of AWS.
func (c *CA) networkError(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	var limit *timeoutError
	switch {
	case cause == nil:
		return err
	case errors.As(cause, &limit):
		return signer.WithHint(fmt.Errorf("%w: %s: %w", errUnreachable, c.server.URL.Host, cause), signer.Hint(err))
	}
	return fmt.Errorf("%s: %w", c.server.URL.Host, cause)
}

// sessionError returns the error for a session that was not obtained.
func sessionError(err error) error {
	var api *rolesanywhere.APIError
	var certificate *rolesanywhere.CertificateError
	class := error(nil)
	switch {
	case errors.Is(err, context.Canceled):
	case errors.Is(err, rolesanywhere.ErrUnreachable):
		class = renew.ErrUnreachable
	case errors.As(err, &api):
		if class = renew.ErrRejected; api.StatusCode >= 500 || api.StatusCode == http.StatusTooManyRequests {
			class = renew.ErrUnreachable
		}
	case errors.As(err, &certificate):
		return signer.WithHint(fmt.Errorf("%w: there is no session to ask AWS Private CA with: %w", renew.ErrRejected, err),
			"AWS gives no session for this certificate; issue the next one with other credentials: aws acm-pca issue-certificate")
	}
	if class == nil {
		return fmt.Errorf("the session for AWS Private CA: %w", err)
	}
	return fmt.Errorf("%w: there is no session to ask AWS Private CA with: %w", class, err)
}

// apiError returns the error for an answer with a status of 400 or above, or
// another one that is not a success.
func (c *CA) apiError(resp *http.Response, body []byte, session credentials.Credentials) error {
	var doc struct {
		Type    string `json:"__type"`
		Message string // also matches "message"
	}
	_ = json.Unmarshal(body, &doc) // a proxy may send HTML
	e := &rolesanywhere.APIError{
		StatusCode: resp.StatusCode,
		Code:       awsservice.Printable(codeOf(resp.Header.Get("X-Amzn-Errortype"), doc.Type)),
		Message:    awsservice.Printable(withoutSecrets(doc.Message, session)),
		RequestID:  awsservice.Printable(resp.Header.Get("X-Amzn-Requestid")),
	}
	switch {
	case resp.StatusCode < 400:
		return c.server.Unexpected(fmt.Errorf("returned status %d", resp.StatusCode))
	case resp.StatusCode == http.StatusProxyAuthRequired:
		return signer.WithHint(fmt.Errorf("%w: %s %w", errUnreachable, c.server.URL.Host, e), awsservice.ProxyLogin)
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusTooManyRequests, isTransient(e.Code):
		return signer.WithHint(fmt.Errorf("%w: %w", errUnreachable, e), "the request can be sent again; check the AWS Health Dashboard, and the quotas of AWS Private CA")
	case e.Code == "":
		return signer.WithHint(fmt.Errorf("%w: %s %w", errUnreachable, c.server.URL.Host, e), awsservice.OtherServer(c.server.Name))
	}
	err := fmt.Errorf("%w: %w", renew.ErrRejected, e)
	skew, _ := awsservice.Skew(resp, c.config.Now())
	if timeCodes.Get(e.Code) && awsservice.RefusesTime(resp.StatusCode, skew) {
		return &clockError{err, skew}
	}
	return signer.WithHint(err, c.hint(e))
}

// signature is a signature in a request, which a server can quote.
var signature = lazyregexp.Regexp{Expression: `Signature=[0-9A-Fa-f]+`}

// withoutSecrets returns a text in which a server can quote the request without the
// secrets of the session and the signature. Also the beginning of a secret is one.
func withoutSecrets(text string, session credentials.Credentials) string {
	const hidden, beginning = "(secret)", 12
	for _, secret := range []string{session.SessionToken, session.SecretAccessKey} {
		if len(secret) < beginning {
			continue
		}
		text = regexp.MustCompile(regexp.QuoteMeta(secret[:beginning])+`[A-Za-z0-9+/=%_-]*`).ReplaceAllLiteralString(text, hidden)
	}
	return signature.Get().ReplaceAllLiteralString(text, "Signature="+hidden)
}

// codeOf returns the code of an error, which the header or the body can have in
// the forms CODE, CODE:URL and NAMESPACE#CODE.
func codeOf(header, body string) string {
	code := header
	if code == "" {
		code = body
	}
	code, _, _ = strings.Cut(code, ":")
	return code[strings.LastIndexByte(code, '#')+1:]
}

// isTransient reports whether a request that was refused with a code can be sent
// again.
func isTransient(code string) bool {
	return strings.HasPrefix(code, "Throttling") || code == "TooManyRequestsException" || code == "RequestThrottled" || code == codeInProgress
}

// isInProgress reports whether the certificate is not issued yet.
func isInProgress(err error) bool {
	var e *rolesanywhere.APIError
	return errors.As(err, &e) && e.Code == codeInProgress
}

// timeCodes are the codes of errors that a wrong local clock can cause.
var timeCodes = lookup.Table[string, bool]{{"InvalidSignatureException", true}, {"SignatureDoesNotMatch", true}, {"RequestExpired", true}}

// A clockError is an error response that a wrong local clock can explain.
type clockError struct {
	error
	skew time.Duration
}

func (e *clockError) Unwrap() error { return e.error }
func (e *clockError) Hint() string {
	return fmt.Sprintf("the local clock is off by %v; correct it, for example with NTP", e.skew.Abs().Round(time.Second))
}

// hints maps error responses to ways out, in which CA_ARN stands for the ARN of the
// CA.
//
// Source: service model of acm-pca, 2017-08-22, and messages that its users have
// received.
var hints = []struct{ code, message, hint string }{
	{"AccessDeniedException", "", "a policy of the role must allow acm-pca:IssueCertificate, with the template if it is a condition, and acm-pca:GetCertificate for CA_ARN"},
	{"InvalidStateException", "", "the CA must be active; its state is printed by: aws acm-pca describe-certificate-authority --certificate-authority-arn CA_ARN"},
	{"LimitExceededException", "", "request a higher quota for AWS Private CA in Service Quotas, or use another CA"},
	{"MalformedCSRException", "", "AWS Private CA does not support the type of the key, or a name of the certificate; a certificate for it can come from another CA"},
	{"ResourceNotFoundException", "", "check privateca.Config.CAARN; the CAs of this account and region are printed by: aws acm-pca list-certificate-authorities"},
	{"InvalidArnException", "", "check privateca.Config.CAARN; the CAs of this account and region are printed by: aws acm-pca list-certificate-authorities"},
	{"InvalidArgsException", "igning algorithm", "set privateca.Config.SigningAlgorithm to the family of the key of the CA"},
	{"InvalidArgsException", "", "check privateca.Config.TemplateARN and privateca.Config.Days; a CA for short-lived certificates issues them for at most 7 days"},
	{"ValidationException", "", "check privateca.Config.TemplateARN and privateca.Config.Days; a CA for short-lived certificates issues them for at most 7 days"},
	{"UnrecognizedClientException", "", "check that privateca.Config.Endpoint belongs to the AWS that gave the session"},
	{"InvalidSignatureException", "", "check this machine's clock, and that privateca.Config.Endpoint belongs to the region of the CA"},
	{"ExpiredTokenException", "", "check this machine's clock"},
}

func (c *CA) hint(e *rolesanywhere.APIError) string {
	for _, h := range hints {
		if h.code == e.Code && strings.Contains(e.Message, h.message) {
			return strings.ReplaceAll(h.hint, "CA_ARN", c.config.CAARN)
		}
	}
	return "the message names the cause; the event in CloudTrail may say more"
}
