package stepca

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/internal/caclient"
	"github.com/holdfast-dev/holdfast/signer"
)

// DefaultTimeout is the default time limit for one call of [CA.Renew] or
// [CA.Enroll], with all of its requests and signatures.
const DefaultTimeout = caclient.DefaultTimeout

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
	client *caclient.Client
	now    func() time.Time
}

var _ renew.Way = (*CA)(nil)

// New checks the configuration. It sends no request.
func New(config Config) (*CA, error) {
	client, err := caclient.New(caclient.Config{
		URL: config.URL, Roots: config.Roots, Timeout: config.Timeout, NoProxy: config.NoProxy,
		Hints: caclient.Hints{
			Software: "step-ca",
			Roots:    "give the root certificate of the CA; its administrator can print it with: step ca root",
			Enroll:   hintEnroll,
		},
	})
	if err != nil {
		return nil, err
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &CA{client, config.Now}, nil
}

// Renew implements [renew.Way].
func (c *CA) Renew(ctx context.Context, r renew.Request) ([]*x509.Certificate, error) {
	ctx, cancel := c.client.Bound(ctx)
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
	if !c.now().After(chain[0].NotAfter) {
		certs, err := c.renewByTLS(ctx, r.Old, rekey)
		if !caclient.SaysExpired(err) { // it has expired by the clock of the CA
			return certs, err
		}
	}
	certs, err := c.renewByToken(ctx, r.Old)
	if err != nil || rekey == nil {
		return certs, err
	}
	renewed, err := signer.SelectCertificates(r.Old.Public(), certs, c.now())
	if err != nil {
		return nil, c.client.Unexpected(err.Error())
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
	token, err := renewalToken(ctx, old, c.client.URL(path), c.now())
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
	ctx, cancel := c.client.Bound(ctx)
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
	selected, err := signer.SelectCertificates(r.PublicKey, certs, c.now())
	if err != nil {
		return nil, c.client.Unexpected(err.Error())
	}
	return selected.Issued(), nil
}

func requestPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}
