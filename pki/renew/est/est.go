package est

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/internal/caclient"
	"github.com/holdfast-dev/holdfast/signer"
)

// DefaultTimeout is the default time limit for one call of [CA.Renew] or
// [CA.Enroll], with all of its requests and signatures.
const DefaultTimeout = caclient.DefaultTimeout

// A Config describes an EST server.
type Config struct {
	URL   string         // https://HOST or https://HOST:PORT
	Roots *x509.CertPool // verify the server; those of the system only if they are given here
	Label string         // chooses one CA of several (RFC 7030, section 3.2.2); "": none

	// Client authenticates Enroll by TLS, such as with the certificate that a
	// manufacturer has issued. It is borrowed. If it is nil, Enroll needs a
	// password.
	Client signer.Signer

	Timeout time.Duration    // 0: DefaultTimeout
	NoProxy bool             // ignore HTTPS_PROXY and NO_PROXY
	Now     func() time.Time // nil: time.Now; TLS uses the clock of the machine
}

// A CA is a [renew.Way] to obtain certificates from an EST server. It is safe for
// concurrent use.
type CA struct {
	client *caclient.Client
	path   string // of the operations, with a slash at the end
	config Config
}

var (
	_ renew.Way      = (*CA)(nil)
	_ renew.Enroller = (*CA)(nil)
)

const hintEnroll = "enroll again, with a user name and password of the CA"

// New checks the configuration. It sends no request.
func New(config Config) (*CA, error) {
	client, err := caclient.New(caclient.Config{
		URL: config.URL, Roots: config.Roots, Timeout: config.Timeout, NoProxy: config.NoProxy,
		Hints: caclient.Hints{
			Software: "an EST server",
			Roots:    "give the certificate of the CA that issued the certificate of the server, with Config.Roots",
			Enroll:   hintEnroll,
		},
	})
	if err != nil {
		return nil, err
	}
	path := "/.well-known/est/"
	if config.Label != "" {
		if !isLabel(config.Label) {
			return nil, signer.WithHint(fmt.Errorf("the label of the CA is %q", caclient.Clip(config.Label, 64)),
				"it is the part of the URL between /.well-known/est/ and the operation, such as factory in /.well-known/est/factory/cacerts")
		}
		path += config.Label + "/"
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &CA{client, path, config}, nil
}

// isLabel reports whether s is a path segment that needs no escaping and is not an
// operation (RFC 7030, section 3.2.2).
func isLabel(s string) bool {
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	switch s {
	case ".", "..", "cacerts", "simpleenroll", "simplereenroll", "fullcmc", "serverkeygen", "csrattrs":
		return false
	}
	return len(s) <= 128 && strings.Trim(s, unreserved) == ""
}

// Renew implements [renew.Way].
func (c *CA) Renew(ctx context.Context, r renew.Request) ([]*x509.Certificate, error) {
	chain := r.Old.Chain()
	if len(chain) == 0 {
		return nil, signer.ErrNoCertificate
	}
	certs, err := c.obtain(ctx, r.Old, enrolment{operation: "simplereenroll", csr: r.CSR})
	if errors.Is(err, renew.ErrRejected) && c.config.Now().After(chain[0].NotAfter) {
		return nil, signer.WithHint(err, "the certificate in use has expired; "+hintEnroll)
	}
	return certs, err
}

// Enroll obtains the first certificate for the key of a certificate request in
// DER. The token is a user name and a password with a colon between them, or empty
// if Config.Client authenticates the request. It is a secret. The certificate comes
// first, then those of its issuers without the root. It is for the key of the
// request; its names are those that the CA allows. The errors are those of
// [renew.Way].
func (c *CA) Enroll(ctx context.Context, csr []byte, token string) ([]*x509.Certificate, error) {
	r, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, errors.New("the certificate request is damaged")
	}
	e := enrolment{operation: "simpleenroll", csr: csr}
	if token = strings.TrimSpace(token); token != "" || c.config.Client == nil {
		if e.user, e.password, err = splitPassword(token); err != nil {
			return nil, err
		}
	}
	certs, err := c.obtain(ctx, c.config.Client, e)
	if err != nil {
		return nil, err
	}
	selected, err := signer.SelectCertificates(r.PublicKey, certs, c.config.Now())
	if err != nil {
		return nil, c.client.Unexpected(err.Error())
	}
	return selected.Issued(), nil
}

// maxPassword bounds a user name and password, in bytes.
const maxPassword = 1 << 10

// splitPassword returns the parts of USER:PASSWORD (RFC 7617, section 2).
func splitPassword(token string) (user, password string, err error) {
	user, password, found := strings.Cut(token, ":")
	hasControl := strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r == 0x7f })
	if !found || user == "" || password == "" || hasControl || len(token) > maxPassword {
		return "", "", signer.WithHint(errors.New("the secret for the CA is not a user name and a password"), "write it as one line of the form USER:PASSWORD")
	}
	return user, password, nil
}

// An enrolment is one request for a certificate.
type enrolment struct {
	operation      string
	csr            []byte // in DER
	user, password string // "": none
}

// obtain asks for the certificates of the CA and then for a new one, and returns
// the new one first.
func (c *CA) obtain(ctx context.Context, identity signer.Signer, e enrolment) ([]*x509.Certificate, error) {
	ctx, cancel := c.client.Bound(ctx)
	defer cancel()
	conn, err := c.client.Open(ctx, identity)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	issuers, err := c.ask(conn, e, caclient.Request{Method: http.MethodGet, Path: c.path + "cacerts"})
	if err != nil {
		return nil, err
	}
	request := caclient.Request{
		Method: http.MethodPost, Path: c.path + e.operation,
		Header: http.Header{"Content-Type": {"application/pkcs10"}},
		Body:   []byte(base64.StdEncoding.EncodeToString(e.csr)),
	}
	if e.password != "" {
		basic := base64.StdEncoding.EncodeToString([]byte(e.user + ":" + e.password))
		request.Header.Set("Authorization", "Basic "+basic)
		request.Secrets = []string{basic, e.password}
	}
	certs, err := c.ask(conn, e, request)
	if err != nil {
		return nil, err
	}
	return append(certs, issuers...), nil
}

// ask sends a request and returns the certificates of the answer.
func (c *CA) ask(conn *caclient.Conn, e enrolment, r caclient.Request) ([]*x509.Certificate, error) {
	r.Header = withAccept(r.Header)
	answer, err := conn.Do(r)
	if err != nil {
		return nil, err
	}
	return c.read(e, r, answer)
}

func withAccept(h http.Header) http.Header {
	if h == nil {
		h = http.Header{}
	}
	h.Set("Accept", mediaType)
	return h
}
