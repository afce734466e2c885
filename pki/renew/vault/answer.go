package vault

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/holdfast-dev/holdfast/pki/renew/internal/caclient"
	"github.com/holdfast-dev/holdfast/signer"
)

// signed is the data of an answer to pki/sign. The certificates are in PEM.
type signed struct {
	Certificate string
	Issuer      string   `json:"issuing_ca"`
	Chain       []string `json:"ca_chain"`
}

// certificates returns the certificate and those of its issuers. They are not
// verified.
func (s signed) certificates() ([]*x509.Certificate, error) {
	if s.Certificate == "" {
		return nil, errors.New("the answer contains no certificate")
	}
	texts := []string{s.Certificate}
	if s.Issuer != "" {
		texts = append(texts, s.Issuer)
	}
	for _, text := range s.Chain {
		if s.Issuer == "" || strings.TrimSpace(text) != strings.TrimSpace(s.Issuer) {
			texts = append(texts, text)
		}
	}
	return caclient.ParsePEM(texts)
}

// do sends a request and decodes the answer.
func (c *CA) do(conn *caclient.Conn, r caclient.Request, value any) error {
	answer, err := conn.Do(r)
	if err != nil {
		return err
	}
	return c.read(r, answer, value)
}

// read decodes an answer to r, or returns the error that it means.
func (c *CA) read(r caclient.Request, answer *caclient.Answer, value any) error {
	status := answer.Status
	message, isVault := messageOf(answer.Body)
	text := fmt.Sprintf("the answer has status %d", status)
	if message = r.Clean(message); message != "" {
		text = message
	}
	switch {
	case status == http.StatusOK:
		if json.Unmarshal(answer.Body, value) != nil {
			return c.client.Unexpected("the answer is not the JSON of Vault")
		}
		return nil
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusPreconditionFailed, status == 472, status == 473:
		if message != "" {
			text = fmt.Sprintf("the answer has status %d: %s", status, message)
		}
		return signer.WithHint(c.client.Failed(text), hintFor(message, "the log of the server can say more; the request can be sent again"))
	case status == http.StatusNotFound && isVault:
		return signer.WithHint(c.client.Failed(text), "check the mount, the role and the namespace of the CA: it has no "+strings.TrimPrefix(r.Path, "/v1/"))
	case (status == http.StatusBadRequest || status == http.StatusForbidden) && isVault:
		return signer.WithHint(c.client.Rejected("refuses the request: "+text), hintFor(message, "check the role and its policy; the audit log of Vault has the request"))
	}
	return c.client.Unexpected(text)
}

// messageOf returns the errors in the form of Vault, and whether the body has that
// form.
func messageOf(body []byte) (message string, isVault bool) {
	var answer struct{ Errors []string }
	if json.Unmarshal(body, &answer) != nil || answer.Errors == nil {
		return "", false
	}
	return strings.Join(answer.Errors, "; "), true
}

// hints has the hint for a message of Vault that contains a text.
var hints = []struct{ text, hint string }{
	{"sealed", "an administrator must unseal it with: vault operator unseal"},
	{"invalid certificate or no client certificate", "the auth method does not accept the certificate in use, or a proxy in front of Vault ends TLS; " + hintEnroll},
	{"failed to match all constraints", "the role for the login must allow the certificate in use; " + hintEnroll},
	{"permission denied", "the policy of the token must allow \"update\" on the path MOUNT/sign/ROLE of the PKI secrets engine, such as pki/sign/app"},
	{"unknown role", "name a role that exists; vault list PKI-MOUNT/roles prints them"},
	{"not allowed by this role", "the role must allow the names of the certificate (allowed_domains, allow_bare_domains, allow_subdomains, allowed_uri_sans)"},
}

func hintFor(message, otherwise string) string {
	for _, h := range hints {
		if strings.Contains(message, h.text) {
			return h.hint
		}
	}
	return otherwise
}
