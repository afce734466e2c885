package assume

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/awsservice"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4"
)

// An Identity is whom STS takes the owner of credentials for.
type Identity struct{ ARN, Account, UserID string }

// CallerIdentity asks STS whose credentials c are (GetCallerIdentity, which needs
// no permission). Of cfg it uses the fields of the connection. It sends one
// request. The errors are those of [Client.Credentials].
func CallerIdentity(ctx context.Context, cfg Config, c credentials.Credentials) (Identity, error) {
	u, err := endpoint(cfg)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", rolesanywhere.ErrConfig, err)
	}
	client := &Client{cfg: cfg, endpoint: u}
	if err := client.setDefaults(); err != nil {
		return Identity{}, err
	}
	cfg = client.cfg
	ctx, cancel := await.Limit(ctx, cfg.Timeout)
	defer cancel()
	body := []byte(url.Values{"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}}.Encode())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return Identity{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set("User-Agent", cfg.UserAgent)
	if err := sigv4.Sign(r, body, c, "sts", cfg.Region, cfg.Now()); err != nil {
		return Identity{}, err
	}
	server := awsservice.Server{Name: "STS", URL: u, Unreachable: errUnreachable, Transport: cfg.Transport, Logger: cfg.Logger}
	resp, respBody, err := server.Exchange(r)
	if err != nil {
		return Identity{}, err
	}
	if resp.StatusCode >= 400 {
		return Identity{}, apiError(server, resp, respBody, cfg.Now())
	}
	var doc struct {
		XMLName xml.Name `xml:"GetCallerIdentityResponse"`
		Result  struct {
			Arn, Account string
			UserID       string `xml:"UserId"`
		} `xml:"GetCallerIdentityResult"`
	}
	if xml.Unmarshal(respBody, &doc) != nil || doc.Result.Arn == "" {
		return Identity{}, server.Unexpected(errors.New("returned a body that is not the XML of a GetCallerIdentity response"))
	}
	return Identity{awsservice.Printable(doc.Result.Arn), awsservice.Printable(doc.Result.Account), awsservice.Printable(doc.Result.UserID)}, nil
}
