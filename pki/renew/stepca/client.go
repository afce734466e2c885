package stepca

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/holdfast-dev/holdfast/pki/renew/internal/caclient"
	"github.com/holdfast-dev/holdfast/signer"
)

// A request is one POST to the API.
type request struct {
	path   string
	client signer.Signer     // authenticates by TLS; borrowed; nil: none
	bearer string            // the token in the header; "": none
	body   map[string]string // nil: none
	secret string            // that the body contains; "": none
}

// post sends r and returns the certificates of the answer.
func (c *CA) post(ctx context.Context, r request) ([]*x509.Certificate, error) {
	body := []byte{}
	var err error
	if r.body != nil {
		if body, err = json.Marshal(r.body); err != nil {
			return nil, err
		}
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if r.bearer != "" {
		header.Set("Authorization", "Bearer "+r.bearer)
	}
	conn, err := c.client.Open(ctx, r.client)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answer, err := conn.Do(caclient.Request{Method: http.MethodPost, Path: r.path, Header: header, Body: body, Secrets: r.secrets()})
	if err != nil {
		return nil, err
	}
	return c.read(r, answer)
}

// secrets returns the tokens of r and their signatures.
func (r request) secrets() (secrets []string) {
	for _, token := range []string{r.secret, r.bearer} {
		secrets = append(secrets, token, token[strings.LastIndexByte(token, '.')+1:])
	}
	return secrets
}
