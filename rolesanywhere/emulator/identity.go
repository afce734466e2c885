package emulator

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
)

// maxAnswer bounds what GetCallerIdentity reads, in bytes.
const maxAnswer = 64 << 10

// An STSError is what STS answered instead of an identity.
type STSError struct {
	StatusCode    int
	Code, Message string // empty if the answer was not of STS
	RequestID     string
}

func (e *STSError) Error() string {
	return fmt.Sprintf("sts: status %d: %s: %s", e.StatusCode, e.Code, e.Message)
}

// GetCallerIdentity asks the STS at endpoint, such as "http://127.0.0.1:8080",
// whom c belongs to. It proves that c works, because it signs with c. It
// borrows client, of which nil means [http.DefaultClient], and follows no
// redirect. An answer that is an error is a [*STSError].
func GetCallerIdentity(ctx context.Context, client *http.Client, endpoint string, c credentials.Credentials, now time.Time) (Identity, error) {
	body := []byte(url.Values{"Action": {stsAction}, "Version": {stsVersion}}.Encode())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return Identity{}, err
	}
	date := now.UTC().Format(sigv4x509.TimeFormat)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set(headerDate, date)
	r.Header.Set(headerToken, c.SessionToken)
	auth := authorization{
		accessKeyID:   c.AccessKeyID,
		date:          date[:8],
		region:        DefaultRegion, // the one of the global endpoint
		service:       sigV4Service,
		signedHeaders: []string{"content-type", "host", "x-amz-date", "x-amz-security-token"},
	}
	if auth.signature, err = auth.sign(r, body, c.SecretAccessKey); err != nil {
		return Identity{}, err
	}
	r.Header.Set("Authorization", auth.String())

	if client == nil {
		client = http.DefaultClient
	}
	once := *client
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := once.Do(r)
	if err != nil {
		return Identity{}, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return Identity{}, fmt.Errorf("answer of %s: %w", endpoint, err)
	}
	if resp.StatusCode != http.StatusOK {
		var e errorResponse
		_ = xml.Unmarshal(answer, &e) // another server's answer has neither code nor message
		return Identity{}, &STSError{StatusCode: resp.StatusCode, Code: e.Code, Message: e.Message, RequestID: e.RequestID}
	}
	var ok callerIdentityResponse
	if err := xml.Unmarshal(answer, &ok); err != nil {
		return Identity{}, fmt.Errorf("answer of %s: %w", endpoint, err)
	}
	return ok.Result, nil
}
