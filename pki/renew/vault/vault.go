package vault

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
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

// The default paths of the mounts.
const (
	DefaultMount      = "pki"
	DefaultLoginMount = "cert"
)

// A Config describes a Vault server.
type Config struct {
	URL   string         // https://HOST or https://HOST:PORT
	Roots *x509.CertPool // verify the server; those of the system only if they are given here

	Role      string // of the PKI secrets engine; required
	Mount     string // of the PKI secrets engine; "": DefaultMount
	Namespace string // of both mounts; "": none

	LoginRole  string // of the auth method cert; "": Role
	LoginMount string // of the auth method cert; "": DefaultLoginMount

	TTL     time.Duration    // of certificates, in whole seconds; 0: that of the role
	Timeout time.Duration    // 0: DefaultTimeout
	NoProxy bool             // ignore HTTPS_PROXY and NO_PROXY
	Now     func() time.Time // nil: time.Now; TLS uses the clock of the machine
}

// A CA is a [renew.Way] to obtain certificates from Vault. It is safe for concurrent
// use.
type CA struct {
	client *caclient.Client
	config Config
}

var (
	_ renew.Way      = (*CA)(nil)
	_ renew.Enroller = (*CA)(nil)
)

const hintEnroll = "enroll again with a token of Vault; an administrator can print one with: vault token create -policy=NAME -ttl=5m -field=token"

// New checks the configuration. It sends no request.
func New(config Config) (*CA, error) {
	client, err := caclient.New(caclient.Config{
		URL: config.URL, Roots: config.Roots, Timeout: config.Timeout, NoProxy: config.NoProxy,
		Hints: caclient.Hints{
			Software: "Vault",
			Roots:    "give the certificate of the CA that issued the certificate of the server, with Config.Roots",
			Enroll:   hintEnroll,
		},
	})
	if err != nil {
		return nil, err
	}
	for _, d := range []struct {
		value *string
		other string
	}{{&config.Mount, DefaultMount}, {&config.LoginMount, DefaultLoginMount}, {&config.LoginRole, config.Role}} {
		if *d.value == "" {
			*d.value = d.other
		}
	}
	for _, p := range []struct{ what, value string }{
		{"role", config.Role}, {"mount", config.Mount}, {"role for the login", config.LoginRole}, {"mount for the login", config.LoginMount},
	} {
		if !isPath(p.value) {
			return nil, signer.WithHint(fmt.Errorf("the %s of the CA is %q", p.what, caclient.Clip(p.value, 64)),
				"use the name in Vault, such as app for the role, or pki or team/pki for a mount")
		}
	}
	if n := strings.Trim(config.Namespace, "/"); n != "" && !isPath(n) {
		return nil, fmt.Errorf("the namespace of the CA is %q", caclient.Clip(config.Namespace, 64))
	}
	if config.TTL < 0 || config.TTL%time.Second != 0 {
		return nil, fmt.Errorf("the lifetime %v is not a number of seconds", config.TTL)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &CA{client, config}, nil
}

// isPath reports whether s is a path whose segments need no escaping.
func isPath(s string) bool {
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	for segment := range strings.SplitSeq(s, "/") {
		if segment == "" || segment == "." || segment == ".." || strings.Trim(segment, unreserved) != "" {
			return false
		}
	}
	return len(s) <= 256
}

// Renew implements [renew.Way].
func (c *CA) Renew(ctx context.Context, r renew.Request) ([]*x509.Certificate, error) {
	chain := r.Old.Chain()
	if len(chain) == 0 {
		return nil, signer.ErrNoCertificate
	}
	names, err := parseNames(r.CSR)
	if err != nil {
		return nil, err
	}
	ctx, cancel := c.client.Bound(ctx)
	defer cancel()
	conn, err := c.client.Open(ctx, r.Old)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	token, err := c.login(conn)
	if errors.Is(err, renew.ErrRejected) && c.config.Now().After(chain[0].NotAfter) {
		err = signer.WithHint(err, "the certificate in use has expired; "+hintEnroll)
	}
	if err != nil {
		return nil, err
	}
	certs, err := c.sign(conn, names, token)
	// Nobody needs the token any more. If it cannot be revoked, it expires.
	_, _ = conn.Do(c.request("auth/token/revoke-self", token, nil))
	return certs, err
}

// Enroll obtains the first certificate for the key of a certificate request in
// DER, with a token of Vault that may sign for the role. The token is a secret, and
// it stays valid. The certificate comes first, then those of its issuers without
// the root. It is for the key of the request; its names are those that the role
// allows. The errors are those of [renew.Way].
func (c *CA) Enroll(ctx context.Context, csr []byte, token string) ([]*x509.Certificate, error) {
	names, err := parseNames(csr)
	if err != nil {
		return nil, err
	}
	token = strings.TrimSpace(token)
	if !isToken(token) {
		return nil, signer.WithHint(errors.New("the secret for the CA is not a token of Vault"), "give the output of: vault token create -policy=NAME -ttl=5m -field=token")
	}
	ctx, cancel := c.client.Bound(ctx)
	defer cancel()
	conn, err := c.client.Open(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	certs, err := c.sign(conn, names, token)
	if err != nil {
		return nil, err
	}
	selected, err := signer.SelectCertificates(names.key, certs, c.config.Now())
	if err != nil {
		return nil, c.client.Unexpected(err.Error())
	}
	return selected.Issued(), nil
}

// isToken reports whether s can be a token, which is text of some hundred bytes.
func isToken(s string) bool {
	return s != "" && len(s) <= 4<<10 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// A body is that of a request for a signature.
type body struct {
	CSR        string `json:"csr"`
	CommonName string `json:"common_name"`
	AltNames   string `json:"alt_names,omitempty"` // DNS names and email addresses
	URISANs    string `json:"uri_sans,omitempty"`
	IPSANs     string `json:"ip_sans,omitempty"`
	TTL        string `json:"ttl,omitempty"`

	key any
}

// parseNames returns the body for a certificate request in DER. Its names are also
// there for roles that do not take them from the request.
func parseNames(der []byte) (body, error) {
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return body{}, errors.New("the certificate request is damaged")
	}
	b := body{
		CSR:        string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})),
		CommonName: r.Subject.CommonName,
		AltNames:   strings.Join(append(r.DNSNames, r.EmailAddresses...), ","),
		key:        r.PublicKey,
	}
	var uris, ips []string
	for _, u := range r.URIs {
		uris = append(uris, u.String())
	}
	for _, ip := range r.IPAddresses {
		ips = append(ips, ip.String())
	}
	b.URISANs, b.IPSANs = strings.Join(uris, ","), strings.Join(ips, ",")
	return b, nil
}

// request returns the request for a path of the API.
func (c *CA) request(path, token string, body []byte) caclient.Request {
	r := caclient.Request{Method: http.MethodPost, Path: "/v1/" + path, Header: http.Header{}, Body: body}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Vault-Request", "true") // agents of Vault can require it
	if c.config.Namespace != "" {
		r.Header.Set("X-Vault-Namespace", strings.Trim(c.config.Namespace, "/")+"/")
	}
	if token != "" {
		r.Header.Set("X-Vault-Token", token)
		r.Secrets = []string{token}
	}
	return r
}

// login returns the token for the certificate of the connection.
func (c *CA) login(conn *caclient.Conn) (string, error) {
	data, err := json.Marshal(map[string]string{"name": c.config.LoginRole})
	if err != nil {
		return "", err
	}
	var answer struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	if err := c.do(conn, c.request("auth/"+c.config.LoginMount+"/login", "", data), &answer); err != nil {
		return "", err
	}
	if !isToken(answer.Auth.Token) {
		return "", signer.WithHint(c.client.Failed("the answer to the login contains no token"), "check that the role for the login needs no second factor")
	}
	return answer.Auth.Token, nil
}

// sign returns the certificate and those of its issuers.
func (c *CA) sign(conn *caclient.Conn, b body, token string) ([]*x509.Certificate, error) {
	if c.config.TTL > 0 {
		b.TTL = fmt.Sprintf("%ds", c.config.TTL/time.Second)
	}
	data, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	var answer struct{ Data signed }
	if err := c.do(conn, c.request(c.config.Mount+"/sign/"+c.config.Role, token, data), &answer); err != nil {
		return nil, err
	}
	certs, err := answer.Data.certificates()
	if err != nil {
		return nil, c.client.Unexpected(err.Error())
	}
	return certs, nil
}
