package rolesanywhere

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
	"github.com/holdfast-dev/holdfast/signer"
)

const (
	maxAttempts  = 4
	maxResponse  = 1 << 20 // bytes; a regular response has about 2 KiB
	initialDelay = 200 * time.Millisecond
	maxDelay     = 3 * time.Second

	// minAttemptTime is the minimum time that must be left for another
	// attempt.
	minAttemptTime = 2 * time.Second

	// maxSkew is the difference of the clocks above which an error response
	// is attributed to it. The service tolerates some minutes.
	maxSkew = time.Minute
)

// createSession calls the service until it returns credentials or a permanent
// error, or until no time or attempt is left.
func (c *Client) createSession(ctx context.Context) (credentials.Credentials, error) {
	body, err := c.body()
	if err != nil {
		return credentials.Credentials{}, err
	}
	var offset time.Duration // the service's time minus the local time
	for attempt := 1; ; attempt++ {
		creds, err := c.attempt(ctx, body, offset)
		if err == nil {
			// If the local clock is behind, credentials must not
			// look valid after they have expired.
			creds.Expires = creds.Expires.Add(-max(offset, 0))
			return creds, nil
		}
		var api *APIError
		if errors.As(err, &api) && offset == 0 && api.refusesTime() {
			offset = api.skew
			c.cfg.Logger.Debug("signing again with the service's time", "offset", offset.Round(time.Second))
			continue
		}
		var t *transient
		if attempt >= maxAttempts || !errors.As(err, &t) {
			return credentials.Credentials{}, err
		}
		wait := max(t.after, jitter(attempt))
		if left, ok := timeLeft(ctx); ok && left < wait+minAttemptTime {
			return credentials.Credentials{}, err
		}
		c.cfg.Logger.Debug("retrying", "attempt", attempt, "wait", wait.Round(time.Millisecond), "error", err)
		if c.pause(ctx, wait) != nil {
			return credentials.Credentials{}, err
		}
	}
}

// timeLeft returns how much time the Timeout and the caller's deadline leave.
func timeLeft(ctx context.Context) (left time.Duration, ok bool) {
	left, ok = await.Left(ctx)
	if deadline, has := ctx.Deadline(); has && (!ok || time.Until(deadline) < left) {
		return time.Until(deadline), true
	}
	return left, ok
}

// jitter returns a random delay from a range that doubles with each attempt, so
// that many machines do not retry at the same time.
func jitter(attempt int) time.Duration {
	limit := min(initialDelay<<(attempt-1), maxDelay)
	return limit/2 + rand.N(limit)
}

// A transient error may go away by itself.
type transient struct {
	err   error
	after time.Duration // from Retry-After; 0 if the service did not set it
}

func (t *transient) Error() string { return t.err.Error() }
func (t *transient) Unwrap() error { return t.err }

func (c *Client) body() ([]byte, error) {
	return json.Marshal(struct {
		DurationSeconds int    `json:"durationSeconds,omitempty"`
		RoleSessionName string `json:"roleSessionName,omitempty"`
	}{int(c.cfg.Duration / time.Second), c.cfg.SessionName})
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
	c.cfg.Logger.Debug("sending CreateSession", "url", c.endpoint.String(), "certificate_serial", chain[0].SerialNumber.Text(16),
		"intermediates", len(chain)-1)

	resp, err := c.cfg.Transport.RoundTrip(req)
	if err != nil {
		return none, unreachable(c.endpoint, err)
	}
	defer resp.Body.Close()
	respBody, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err != nil {
		return none, unreachable(c.endpoint, err)
	}
	c.cfg.Logger.Debug("received response", "status", resp.StatusCode, "bytes", len(respBody), "request_id", printable(resp.Header.Get("x-amzn-requestid")))
	switch {
	case len(respBody) > maxResponse:
		return none, unexpected(c.endpoint, fmt.Errorf("returned more than %d KiB", maxResponse>>10))
	case resp.StatusCode >= 400:
		return none, apiError(c.endpoint, resp, respBody, c.cfg.Now(), certs)
	case resp.StatusCode >= 300:
		return none, unexpected(c.endpoint, fmt.Errorf("returned a redirect to %q with status %d", clip(resp.Header.Get("Location")), resp.StatusCode))
	case resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK:
		return none, unexpected(c.endpoint, fmt.Errorf("returned status %d", resp.StatusCode))
	}
	creds, err := parseResponse(respBody)
	if err != nil {
		return none, unexpected(c.endpoint, err)
	}
	if err := creds.Check(c.cfg.Now()); err != nil {
		err = unexpected(c.endpoint, fmt.Errorf("returned a session, but the %w", err))
		if !creds.Expires.IsZero() {
			err = signer.WithHint(err, "check this machine's clock and the endpoint")
		}
		return none, err
	}
	creds.AccountID = c.role.account
	return creds, nil
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
	var doc struct {
		CredentialSet []struct {
			Credentials struct {
				AccessKeyID     string `json:"accessKeyId"`
				SecretAccessKey string `json:"secretAccessKey"`
				SessionToken    string `json:"sessionToken"`
				Expiration      string `json:"expiration"`
			} `json:"credentials"`
		} `json:"credentialSet"`
	}
	// The decoder's errors may quote the body, which may contain secrets.
	if json.Unmarshal(body, &doc) != nil {
		return credentials.Credentials{}, errors.New("returned a body that is not the JSON of a CreateSession response")
	}
	if n := len(doc.CredentialSet); n != 1 {
		return credentials.Credentials{}, fmt.Errorf("returned %s sets of credentials instead of one", strconv.Itoa(n))
	}
	c := doc.CredentialSet[0].Credentials
	expires, err := time.Parse(time.RFC3339, c.Expiration)
	if err != nil && c.Expiration != "" {
		return credentials.Credentials{}, errors.New("returned an expiration that is not a time in RFC 3339 format")
	}
	return credentials.Credentials{
		AccessKeyID:     c.AccessKeyID,
		SecretAccessKey: c.SecretAccessKey,
		SessionToken:    c.SessionToken,
		Expires:         expires,
	}, nil
}
