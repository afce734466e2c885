// Package caclient sends requests to the HTTPS server of a CA and classifies what
// goes wrong. It knows no protocol of a CA.
package caclient

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/holdfast-dev/holdfast/signer"
)

// DefaultTimeout is the default time limit for all requests and signatures of one
// renewal.
const DefaultTimeout = 30 * time.Second

// maxAnswer bounds the body of an answer, in bytes. A regular one has some KiB.
const maxAnswer = 1 << 20

// maxCertificates bounds the certificates in an answer.
const maxCertificates = 16

// A Config describes the server of a CA.
type Config struct {
	URL   string         // https://HOST or https://HOST:PORT
	Roots *x509.CertPool // verify the server

	Timeout time.Duration // 0: DefaultTimeout
	NoProxy bool          // ignore HTTPS_PROXY and NO_PROXY
	Hints   Hints
}

// Hints are what a person can do.
type Hints struct {
	Software string // the name of the CA's software, such as "step-ca"
	Roots    string // if the server cannot be verified
	Enroll   string // if the CA does not accept the certificate in use
}

// A Client sends requests to one CA. It is safe for concurrent use.
type Client struct {
	config Config
	url    *url.URL
}

// New checks the configuration. It sends no request.
func New(config Config) (*Client, error) {
	u, err := url.Parse(config.URL)
	switch {
	case strings.Contains(config.URL, "@"):
		return nil, signer.WithHint(errors.New("the URL of the CA contains a user name or password"), "use the form https://HOST or https://HOST:PORT")
	case err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, signer.WithHint(fmt.Errorf("the URL of the CA is invalid: %q", Clip(config.URL, 128)), "use the form https://HOST or https://HOST:PORT")
	case config.Roots == nil:
		return nil, signer.WithHint(errors.New("no root certificate is given for the CA"), config.Hints.Roots)
	case config.Timeout < 0:
		return nil, fmt.Errorf("the timeout %v is negative", config.Timeout)
	}
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	return &Client{config, &url.URL{Scheme: u.Scheme, Host: u.Host}}, nil
}

// Host returns the host and port of the CA.
func (c *Client) Host() string { return c.url.Host }

// URL returns the URL of a path at the CA.
func (c *Client) URL(path string) string { return c.url.JoinPath(path).String() }

// Bound returns ctx with the time limit.
func (c *Client) Bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.config.Timeout, &timeoutError{c.config.Timeout})
}

// A Request is one request to the CA.
type Request struct {
	Method, Path string
	Header       http.Header // nil: none but those of every request
	Body         []byte
	Secrets      []string // in the request; they are never quoted
}

// An Answer is what the CA answers. It is no redirect.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// A Conn sends requests with one identity, if possible over one connection, so
// that the key signs once. It is not safe for concurrent use.
type Conn struct {
	client    *Client
	ctx       context.Context
	transport *http.Transport
	device    recorder
}

// Open returns a Conn that ends with ctx. identity authenticates the client by
// TLS; it is borrowed; nil: nobody. The caller closes the Conn.
func (c *Client) Open(ctx context.Context, identity signer.Signer) (*Conn, error) {
	conn := &Conn{client: c, ctx: ctx}
	var err error
	conn.transport, err = c.transport(ctx, identity, &conn.device)
	return conn, err
}

// Close closes the connection.
func (c *Conn) Close() {
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
}

// Do sends a request and returns the answer, whatever its status is unless it is a
// redirect, which is not followed. The error wraps those of [renew.Way].
func (c *Conn) Do(r Request) (*Answer, error) {
	req, err := http.NewRequestWithContext(c.ctx, r.Method, c.client.URL(r.Path), bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "Holdfast")
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		// A device that fails, such as for a wrong PIN, is not a fault of the CA.
		if err := c.device.failure(); err != nil {
			return nil, err
		}
		return nil, c.client.unreachable(c.ctx, r, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, c.client.unreachable(c.ctx, r, err)
	case len(data) > maxAnswer:
		return nil, c.client.Unexpected(fmt.Sprintf("the answer has more than %d KiB", maxAnswer>>10))
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, c.client.Unexpected(fmt.Sprintf("the answer is a redirect to %q", r.Clean(resp.Header.Get("Location"))))
	}
	return &Answer{resp.StatusCode, resp.Header, data}, nil
}

// Clean returns a text that a server may have determined as one line of limited
// length, without the secrets of r, which it may have quoted.
func (r Request) Clean(text string) string {
	for _, secret := range r.Secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "(secret)")
		}
	}
	return Clip(text, 300)
}

// Clip returns a text of others as one line without control characters, of at
// most so many characters.
func Clip(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strings.TrimSpace(s)
}

// ParsePEM returns the certificates of an answer that has each of them as a text in
// PEM. They are not verified.
func ParsePEM(texts []string) (certs []*x509.Certificate, err error) {
	switch {
	case len(texts) == 0:
		return nil, errors.New("the answer contains no certificate")
	case len(texts) > maxCertificates:
		return nil, fmt.Errorf("the answer contains more than %d certificates", maxCertificates)
	}
	for _, text := range texts {
		block, rest := pem.Decode([]byte(text))
		if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 || !strings.HasPrefix(text, "-----BEGIN") {
			return nil, errors.New("the answer contains a text that is not one certificate in PEM")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("the answer contains a certificate that is damaged")
		}
		certs = append(certs, cert)
	}
	return certs, nil
}
