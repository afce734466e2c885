package assume

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/awsservice"
	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4"
	"github.com/holdfast-dev/holdfast/signer"
)

// defaultDuration is what STS uses if a request has no duration. It is sent
// nevertheless, as the AWS SDKs do.
const defaultDuration = time.Hour

// maxDifference is how far the clock that set the Date of a response may be from
// the one that set the expiration.
const maxDifference = 5 * time.Minute

// duration returns the session duration that a request asks for.
func (c *Client) duration() time.Duration { return cmp.Or(c.cfg.Duration, defaultDuration) }

// form returns the parameters of the request, in the query protocol of AWS.
func (c *Client) form() url.Values {
	cfg := c.cfg
	v := url.Values{
		"Action":          {"AssumeRole"},
		"Version":         {"2011-06-15"},
		"RoleArn":         {cfg.RoleARN},
		"RoleSessionName": {cfg.SessionName},
		"DurationSeconds": {strconv.Itoa(int(c.duration() / time.Second))},
	}
	if cfg.ExternalID != "" {
		v.Set("ExternalId", cfg.ExternalID)
	}
	if cfg.SourceIdentity != "" {
		v.Set("SourceIdentity", cfg.SourceIdentity)
	}
	for i, key := range slices.Sorted(maps.Keys(cfg.Tags)) {
		member := "Tags.member." + strconv.Itoa(i+1)
		v.Set(member+".Key", key)
		v.Set(member+".Value", cfg.Tags[key])
	}
	for i, key := range slices.Sorted(slices.Values(cfg.TransitiveTagKeys)) {
		v.Set("TransitiveTagKeys.member."+strconv.Itoa(i+1), key)
	}
	return v
}

// attempt sends one request, signed with the credentials of the Source.
func (c *Client) attempt(ctx context.Context, source credentials.Credentials, offset time.Duration) (credentials.Credentials, error) {
	none := credentials.Credentials{}
	body := []byte(c.form().Encode())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return none, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set("User-Agent", c.cfg.UserAgent)
	if err := sigv4.Sign(r, body, source, "sts", c.cfg.Region, c.cfg.Now().Add(offset)); err != nil {
		return none, err
	}
	c.cfg.Logger.Debug("sending AssumeRole", "url", c.endpoint.String(), "role_arn", c.cfg.RoleARN, "access_key_id", source.AccessKeyID)
	server := awsservice.Server{Name: "STS", URL: c.endpoint, Unreachable: errUnreachable, Transport: c.cfg.Transport, Logger: c.cfg.Logger}
	resp, respBody, err := server.Exchange(r)
	if err != nil {
		return none, err
	}
	if resp.StatusCode >= 400 {
		return none, apiError(server, resp, respBody, c.cfg.Now())
	}
	creds, err := parseResponse(respBody)
	if err != nil {
		return none, server.Unexpected(err)
	}
	if err := server.Check(creds, c.cfg.Now()); err != nil {
		return none, err
	}
	if err := checkLifetime(resp, creds.Expires, c.duration()); err != nil {
		return none, server.Unexpected(err)
	}
	creds.AccountID = c.account
	return creds, nil
}

// checkLifetime returns an error if a session lasts longer than STS allows. It
// compares the expiration with the Date of the response, because the local clock
// may be wrong. Without a Date, it returns nil.
func checkLifetime(resp *http.Response, expires time.Time, requested time.Duration) error {
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil || expires.Sub(date) <= requested+maxDifference {
		return nil
	}
	return fmt.Errorf("returned a session that lasts until %s, longer than the %v that were requested", expires.UTC().Format(time.RFC3339), requested)
}

func parseResponse(body []byte) (credentials.Credentials, error) {
	var doc struct {
		XMLName     xml.Name `xml:"AssumeRoleResponse"`
		Credentials struct {
			AccessKeyID     string `xml:"AccessKeyId"`
			SecretAccessKey string
			SessionToken    string
			Expiration      string
		} `xml:"AssumeRoleResult>Credentials"`
	}
	// The decoder's errors may quote the body, which may contain secrets.
	if xml.Unmarshal(body, &doc) != nil {
		return credentials.Credentials{}, errors.New("returned a body that is not the XML of an AssumeRole response")
	}
	c := doc.Credentials
	expires, err := time.Parse(time.RFC3339, c.Expiration)
	if err != nil && c.Expiration != "" {
		return credentials.Credentials{}, errors.New("returned an expiration that is not a time in RFC 3339 format")
	}
	return credentials.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken, Expires: expires}, nil
}

// errUnreachable is rolesanywhere.ErrUnreachable with the name of STS.
var errUnreachable error = unreachable{}

type unreachable struct{}

func (unreachable) Error() string        { return "no valid response from STS" }
func (unreachable) Is(target error) bool { return target == rolesanywhere.ErrUnreachable }

// apiError parses an error response of AWS's query protocol.
func apiError(server awsservice.Server, resp *http.Response, body []byte, now time.Time) error {
	var doc struct {
		Code      string `xml:"Error>Code"`
		Message   string `xml:"Error>Message"`
		RequestID string `xml:"RequestId"`
	}
	_ = xml.Unmarshal(body, &doc) // ignore errors: a proxy may send HTML
	if doc.RequestID == "" {
		doc.RequestID = resp.Header.Get("x-amzn-requestid")
	}
	e := &rolesanywhere.APIError{
		StatusCode: resp.StatusCode,
		Code:       awsservice.Printable(doc.Code),
		Message:    awsservice.Printable(doc.Message),
		RequestID:  awsservice.Printable(doc.RequestID),
		Host:       awsservice.OtherHost(server.URL),
	}
	if e.Code == "" && e.Message == "" && e.RequestID == "" {
		hint := awsservice.OtherServer(server.Name)
		if e.StatusCode == http.StatusProxyAuthRequired {
			hint = awsservice.ProxyLogin
		}
		return awsservice.MayRetry(resp, "", signer.WithHint(fmt.Errorf("%w: %s %w", server.Unreachable, server.URL.Host, e), hint))
	}
	err := signer.WithHint(e, hint(e))
	if skew, _ := awsservice.Skew(resp, now); awsservice.RefusesTime(resp.StatusCode, skew) && timeCodes.Get(e.Code) {
		err = &clockError{err, skew}
	}
	return awsservice.MayRetry(resp, e.Code, err)
}

// timeCodes are the codes of errors that a wrong local clock can cause.
var timeCodes = lookup.Table[string, bool]{{"SignatureDoesNotMatch", true}, {"RequestExpired", true}}

// A clockError is an error response that a wrong local clock can explain.
type clockError struct {
	error
	skew time.Duration
}

func (e *clockError) Unwrap() error            { return e.error }
func (e *clockError) ClockSkew() time.Duration { return e.skew }
func (e *clockError) Hint() string {
	return fmt.Sprintf("the local clock is off by %v; correct it, for example with NTP", e.skew.Abs().Round(time.Second))
}

// causes maps error responses to their most likely causes. The first entry
// whose fields all match is used.
//
// Sources: AWS STS API Reference, AssumeRole and "Common error types"; AWS IAM
// User Guide, "Pass session tags in AWS STS" and "Monitor and control actions
// taken with assumed roles".
var causes = []struct{ code, message, hint string }{
	{"AccessDenied", "sts:SetSourceIdentity",
		"add sts:SetSourceIdentity to the trust policy of the second role and to a policy of the first role, because sessions of Roles Anywhere have a source identity"},
	{"AccessDenied", "sts:TagSession",
		"add sts:TagSession to the trust policy of the second role and to a policy of the first role, or leave out assume.Config.Tags"},
	{"AccessDenied", "",
		"the second role must exist; its trust policy must allow sts:AssumeRole, sts:SetSourceIdentity and, for session tags, sts:TagSession to the first role, with conditions that the request meets, and a policy of the first role must allow the same actions for the second role"},
	{"ValidationError", "1 hour session limit", "set assume.Config.Duration to at most 3600 seconds"},
	{"ValidationError", "MaxSessionDuration", "set assume.Config.Duration to at most the maximum session duration of the second role"},
	{"PackedPolicyTooLarge", "", "use fewer or shorter session tags; those that the session of the first role passes on count too"},
	{"RegionDisabledException", "", "activate STS for this region in the account settings of IAM, or use the endpoint of another region with assume.Config.Endpoint"},
	{"InvalidClientTokenId", "", "STS does not know the credentials of the first role: check that assume.Config.Endpoint and Config.Endpoint belong together"},
	{"ExpiredToken", "", "the session of the first role has expired; check this machine's clock, and try again"},
	{"SignatureDoesNotMatch", "", "check this machine's clock, and that the endpoint belongs to the region"},
	{"Throttling", "", "the account exceeds its rate of calls of STS in this region; spread the calls or request a higher quota"},
}

func hint(e *rolesanywhere.APIError) string {
	for _, c := range causes {
		if c.code != "" && strings.HasPrefix(e.Code, c.code) && strings.Contains(e.Message, c.message) {
			return c.hint
		}
	}
	if e.StatusCode >= 500 {
		return "STS has a problem; try again later, and check the AWS Health Dashboard"
	}
	return "the message names the cause; the AssumeRole event in CloudTrail may say more"
}
