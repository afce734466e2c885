package stepca

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/signer"
)

// DefaultTimeout is the default time limit for one call of [CA.Renew] or
// [CA.Enroll], with all of its requests and signatures.
const DefaultTimeout = 30 * time.Second

// A Config describes a step-ca server.
type Config struct {
	URL   string         // https://HOST or https://HOST:PORT
	Roots *x509.CertPool // verify the server; those of the system only if they are given here

	Timeout time.Duration    // 0: DefaultTimeout
	NoProxy bool             // ignore HTTPS_PROXY and NO_PROXY
	Now     func() time.Time // nil: time.Now; TLS uses the clock of the machine
}

// A CA is a [renew.Way] to obtain certificates from a step-ca server. It is safe
// for concurrent use.
type CA struct {
	config Config
	url    *url.URL
}

var _ renew.Way = (*CA)(nil)

// New checks the configuration. It sends no request.
func New(config Config) (*CA, error) {
	u, err := url.Parse(config.URL)
	switch {
	case strings.Contains(config.URL, "@"):
		return nil, errors.New("the URL of the CA contains a user name or password")
	case err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, signer.WithHint(fmt.Errorf("the URL of the CA is %q", clip(config.URL, 128)), "use the form https://HOST or https://HOST:PORT")
	case config.Roots == nil:
		return nil, signer.WithHint(errors.New("no root certificate is given for the CA"), hintRoot)
	case config.Timeout < 0:
		return nil, fmt.Errorf("the timeout %v is negative", config.Timeout)
	}
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &CA{config, &url.URL{Scheme: u.Scheme, Host: u.Host}}, nil
}

func (c *CA) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.config.Timeout, &timeoutError{c.config.Timeout})
}

// Renew implements [renew.Way].
func (c *CA) Renew(ctx context.Context, r renew.Request) ([]*x509.Certificate, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	chain := r.Old.Chain()
	if len(chain) == 0 {
		return nil, signer.ErrNoCertificate
	}
	csr, err := x509.ParseCertificateRequest(r.CSR)
	if err != nil {
		return nil, errors.New("the certificate request is damaged")
	}
	var rekey []byte
	if !signer.SamePublicKey(csr.PublicKey, r.Old.Public()) {
		rekey = r.CSR
	}
	if !c.config.Now().After(chain[0].NotAfter) {
		certs, err := c.renewByTLS(ctx, r.Old, rekey)
		if !saysExpired(err) { // it has expired by the clock of the CA
			return certs, err
		}
	}
	certs, err := c.renewByToken(ctx, r.Old)
	if err != nil || rekey == nil {
		return certs, err
	}
	renewed, err := signer.SelectCertificates(r.Old.Public(), certs, c.config.Now())
	if err != nil {
		return nil, c.unexpected(err.Error())
	}
	return c.renewByTLS(ctx, signer.WithCertificates(r.Old, renewed), rekey)
}

// renewByTLS renews the certificate of old, for the key of the request rekey
// unless it is nil.
func (c *CA) renewByTLS(ctx context.Context, old signer.Signer, rekey []byte) ([]*x509.Certificate, error) {
	if rekey == nil {
		return c.post(ctx, request{path: "/1.0/renew", client: old})
	}
	return c.post(ctx, request{path: "/1.0/rekey", client: old, body: map[string]string{"csr": requestPEM(rekey)}})
}

// renewByToken renews the expired certificate of old for its key.
func (c *CA) renewByToken(ctx context.Context, old signer.Signer) ([]*x509.Certificate, error) {
	const path = "/1.0/renew"
	token, err := renewalToken(ctx, old, c.url.JoinPath(path).String(), c.config.Now())
	if err != nil {
		return nil, err
	}
	return c.post(ctx, request{path: path, bearer: token})
}

// Enroll obtains the first certificate for the key of a certificate request in
// DER, with a one-time token of a provisioner. The token is a secret, and it is
// used up even if the answer is lost. The certificate comes first, then those of
// its issuers without the root. It is for the key of the request; its names are
// those that the CA allows. The errors wrap those of [renew.Way].
func (c *CA) Enroll(ctx context.Context, csr []byte, token string) ([]*x509.Certificate, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	r, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, errors.New("the certificate request is damaged")
	}
	token = strings.TrimSpace(token)
	if !isToken(token) {
		return nil, signer.WithHint(errors.New("the one-time token is not a JSON Web Token"), "give the output of: step ca token NAME")
	}
	certs, err := c.post(ctx, request{path: "/1.0/sign", secret: token, body: map[string]string{"csr": requestPEM(csr), "ott": token}})
	if err != nil {
		return nil, err
	}
	selected, err := signer.SelectCertificates(r.PublicKey, certs, c.config.Now())
	if err != nil {
		return nil, c.unexpected(err.Error())
	}
	return selected.Issued(), nil
}

func requestPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}
