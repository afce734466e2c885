package rolesanywhere

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/awsservice"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
	"github.com/holdfast-dev/holdfast/signer"
)

// serviceName names the service in errors.
const serviceName = "Roles Anywhere"

// createSession calls the service until it returns credentials or a permanent
// error, or until no time or attempt is left.
func (c *Client) createSession(ctx context.Context) (credentials.Credentials, error) {
	body := c.body()
	repeat := awsservice.Repeat{MaxAttempts: c.cfg.MaxAttempts, Logger: c.cfg.Logger, Pause: c.pause}
	return repeat.Do(ctx, func(offset time.Duration) (credentials.Credentials, error) { return c.attempt(ctx, body, offset) })
}

// body returns the JSON of the request. No character of a session name needs escaping.
// Like [parseResponse], it spares package encoding/json learning about a struct, which
// costs a process some page faults.
func (c *Client) body() []byte {
	var members []string
	if d := c.cfg.Duration; d != 0 {
		members = append(members, fmt.Sprintf(`"durationSeconds":%d`, d/time.Second))
	}
	if name := c.cfg.SessionName; name != "" {
		members = append(members, `"roleSessionName":"`+name+`"`)
	}
	return []byte("{" + strings.Join(members, ",") + "}")
}

// attempt sends one signed request. Like aws_signing_helper, it puts the ARNs
// into the query; the service accepts them there or in the body.
func (c *Client) attempt(ctx context.Context, body []byte, offset time.Duration) (credentials.Credentials, error) {
	none := credentials.Credentials{}
	u := *c.endpoint
	u.RawQuery = url.Values{
		"profileArn":     {c.cfg.ProfileARN},
		"roleArn":        {c.cfg.RoleARN},
		"trustAnchorArn": {c.cfg.TrustAnchorARN},
	}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return none, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	now := c.cfg.Now().Add(offset)
	certs := signer.CertificatesOf(c.cfg.Signer)
	chain := fitting(usable(certs, now))
	if err := c.sign(req, body, chain, now); err != nil {
		return none, err
	}
	c.cfg.Logger.Debug("sending CreateSession", "url", c.endpoint.String(), "certificate_serial", fmt.Sprintf("%x", chain[0].SerialNumber.Bytes()),
		"intermediates", len(chain)-1)

	server := c.server()
	resp, respBody, err := server.Exchange(req)
	if err != nil {
		return none, err
	}
	if resp.StatusCode >= 400 {
		err := apiError(c.endpoint, resp, respBody, c.cfg.Now(), certs)
		if api, ok := errors.AsType[*APIError](err); ok {
			api.alias = c.anchor.alias
		}
		return none, err
	}
	creds, err := parseResponse(respBody)
	if err == nil {
		err = server.Check(creds, c.cfg.Now())
	} else {
		err = server.Unexpected(err)
	}
	if err != nil {
		return none, err
	}
	creds.AccountID = c.role.account
	return creds, nil
}

func (c *Client) server() awsservice.Server {
	return awsservice.Server{Name: serviceName, URL: c.endpoint, Unreachable: ErrUnreachable, Transport: c.cfg.Transport, Logger: c.cfg.Logger}
}

// sign signs req. A signature that waits for a person has a time limit of its
// own. If no signature was made in time, the device gets no second request: it
// may still be busy with the first.
func (c *Client) sign(req *http.Request, body []byte, chain []*x509.Certificate, t time.Time) error {
	ctx, s, limit := req.Context(), c.cfg.Signer, c.cfg.TouchTimeout
	if limit == 0 && signer.NeedsPerson(s) {
		limit = MaxTouchTimeout
	}
	hint := "check the device; if a person has to touch it for each signature, Config.TouchTimeout gives that person more time"
	if limit > 0 {
		var done func()
		ctx, done = await.Person(ctx, limit)
		defer done()
		hint = "touch the device, or enter the PIN on it, when it asks"
	}
	err := sigv4x509.Sign(req, body, signer.WithContext(ctx, s), chain, c.cfg.Region, t)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("sign request: %w", err)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && signer.Hint(err) == "" {
		err = signer.WithHint(err, hint)
	}
	return err
}

func parseResponse(body []byte) (credentials.Credentials, error) {
	none := credentials.Credentials{}
	// The decoder's errors may quote the body, which may contain secrets.
	var document any
	err := json.Unmarshal(body, &document)
	ok := err == nil
	sets := member[[]any](document, "credentialSet", &ok)
	if ok && len(sets) != 1 {
		return none, fmt.Errorf("returned %s sets of credentials instead of one", strconv.Itoa(len(sets)))
	}
	var creds any
	if ok {
		creds = member[any](sets[0], "credentials", &ok)
	}
	text := func(name string) string { return member[string](creds, name, &ok) }
	c := credentials.Credentials{AccessKeyID: text("accessKeyId"), SecretAccessKey: text("secretAccessKey"), SessionToken: text("sessionToken")}
	expiration := text("expiration")
	if !ok {
		return none, errors.New("returned a body that is not the JSON of a CreateSession response")
	}
	if c.Expires, err = time.Parse(time.RFC3339, expiration); err != nil && expiration != "" {
		return none, errors.New("returned an expiration that is not a time in RFC 3339 format")
	}
	return c, nil
}

// member returns a member of a JSON object, or nothing if it is missing or null. It clears
// ok if a value has another type.
func member[T any](object any, name string, ok *bool) (value T) {
	members, isObject := object.(map[string]any)
	value, isT := members[name].(T)
	*ok = *ok && (isObject || object == nil) && (isT || members[name] == nil)
	return value
}
