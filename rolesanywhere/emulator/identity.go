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
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4"
)

// maxResponse limits the response that GetCallerIdentity reads, in bytes.
const maxResponse = 64 << 10

// An STSError is an error response of STS.
type STSError struct {
	StatusCode    int
	Code, Message string // empty if another server sent the response
	RequestID     string
}

func (e *STSError) Error() string {
	return fmt.Sprintf("sts: status %d: %s: %s", e.StatusCode, e.Code, e.Message)
}

// GetCallerIdentity calls GetCallerIdentity of the STS at endpoint, such as
// "http://127.0.0.1:8080". It signs the request with c, so success proves that
// c works. It borrows client; nil means [http.DefaultClient]. It follows no
// redirect. An error response is returned as a [*STSError].
func GetCallerIdentity(ctx context.Context, client *http.Client, endpoint string, c credentials.Credentials, now time.Time) (Identity, error) {
	body := []byte(url.Values{"Action": {actionGetCallerIdentity}, "Version": {stsVersion}}.Encode())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return Identity{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if err := sigv4.Sign(r, body, c, stsService, DefaultRegion, now); err != nil { // the region of the global endpoint
		return Identity{}, err
	}

	if client == nil {
		client = http.DefaultClient
	}
	noRedirect := *client
	noRedirect.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := noRedirect.Do(r)
	if err != nil {
		return Identity{}, err
	}
	defer resp.Body.Close()
	respBody, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err != nil {
		return Identity{}, fmt.Errorf("response of %s: %w", endpoint, err)
	}
	if resp.StatusCode != http.StatusOK {
		var e errorResponse
		_ = xml.Unmarshal(respBody, &e) // another server's response has neither code nor message
		return Identity{}, &STSError{StatusCode: resp.StatusCode, Code: e.Code, Message: e.Message, RequestID: e.RequestID}
	}
	var ok callerIdentityResponse
	if err := xml.Unmarshal(respBody, &ok); err != nil {
		return Identity{}, fmt.Errorf("response of %s: %w", endpoint, err)
	}
	return ok.Result, nil
}
