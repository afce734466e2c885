package privateca

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/awsservice"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4"
	"github.com/holdfast-dev/holdfast/signer"
)

// The pauses until a certificate is asked for again double from the first to the
// longest one. After all of them together have become longer than patience, the
// Renewer waits.
const (
	firstPause   = 500 * time.Millisecond
	longestPause = 4 * time.Second
	patience     = 20 * time.Second
	askAgain     = 30 * time.Second
)

const (
	apiService = "acm-pca"
	target     = "ACMPrivateCA."

	codeInProgress = "RequestInProgressException"

	// maxCertificates bounds the chain in an answer.
	maxCertificates = 16
)

type validity struct {
	Type  string
	Value int
}

type issueInput struct {
	CertificateAuthorityArn string
	Csr                     []byte // PEM; base64 in JSON
	SigningAlgorithm        string
	TemplateArn             string
	Validity                validity
	IdempotencyToken        string
}

type getInput struct{ CertificateAuthorityArn, CertificateArn string }

// Renew implements [renew.Way].
func (c *CA) Renew(ctx context.Context, r renew.Request) ([]*x509.Certificate, error) {
	chain := r.Old.Chain()
	if len(chain) == 0 {
		return nil, signer.ErrNoCertificate
	}
	algorithm, err := c.signingAlgorithm(chain[0])
	if err != nil {
		return nil, err
	}
	session, err := c.config.Session(ctx, r.Old)
	if err != nil {
		return nil, sessionError(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.config.Timeout, &timeoutError{c.config.Timeout})
	defer cancel()
	body, err := c.call(ctx, session, "IssueCertificate", issueInput{
		CertificateAuthorityArn: c.config.CAARN,
		Csr:                     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: r.CSR}),
		SigningAlgorithm:        algorithm,
		TemplateArn:             c.config.TemplateARN,
		Validity:                validity{"DAYS", c.days(chain[0])},
		IdempotencyToken:        r.Token,
	})
	if err != nil {
		return nil, err
	}
	arn, err := c.parseIssued(body)
	if err != nil {
		return nil, c.server.Unexpected(err)
	}
	return c.get(ctx, session, arn)
}

// get returns the certificate with an ARN as soon as it is issued.
func (c *CA) get(ctx context.Context, session credentials.Credentials, arn string) ([]*x509.Certificate, error) {
	pause := firstPause
	for waited := time.Duration(0); ; waited += pause {
		body, err := c.call(ctx, session, "GetCertificate", getInput{c.config.CAARN, arn})
		switch {
		case err == nil:
			certs, err := parseCertificates(body)
			if err != nil {
				return nil, c.server.Unexpected(err)
			}
			return certs, nil
		case !isInProgress(err):
			return nil, err
		case waited > patience:
			return nil, &renew.WaitError{After: askAgain}
		}
		if waited > 0 {
			pause = min(2*pause, longestPause)
		}
		if err := c.pause(ctx, pause); err != nil {
			return nil, c.networkError(ctx, err)
		}
	}
}

// call calls an action of the API. It sends the request once more with the time of
// AWS if the clock is wrong.
func (c *CA) call(ctx context.Context, session credentials.Credentials, action string, in any) ([]byte, error) {
	data, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	for offset := time.Duration(0); ; {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.server.URL.String(), bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("User-Agent", c.config.UserAgent)
		r.Header.Set("X-Amz-Target", target+action)
		if err := sigv4.Sign(r, data, session, apiService, c.region, c.config.Now().Add(offset)); err != nil {
			return nil, err
		}
		c.config.Logger.Debug("sending "+action, "url", c.server.URL.String(), "ca_arn", c.config.CAARN, "access_key_id", session.AccessKeyID)
		resp, body, err := c.server.Exchange(r)
		if err != nil {
			return nil, c.networkError(ctx, err)
		}
		if resp.StatusCode == http.StatusOK {
			return body, nil
		}
		err = c.apiError(resp, body, session)
		var clock *clockError
		if !errors.As(err, &clock) || offset != 0 {
			return nil, err
		}
		offset = clock.skew
	}
}

// parseIssued returns the ARN in an answer to IssueCertificate.
func (c *CA) parseIssued(body []byte) (string, error) {
	var answer struct{ CertificateArn string }
	if json.Unmarshal(body, &answer) != nil {
		return "", errors.New("returned a body that is not the JSON of IssueCertificate")
	}
	serial, ok := strings.CutPrefix(answer.CertificateArn, c.config.CAARN+"/certificate/")
	if !ok || !isWord(serial) || len(answer.CertificateArn) > maxARN {
		return "", fmt.Errorf("returned %q, which is not the ARN of a certificate of the CA", awsservice.Printable(awsservice.Clip(answer.CertificateArn)))
	}
	return answer.CertificateArn, nil
}

// parseCertificates returns the certificates in an answer to GetCertificate. They
// are not verified.
func parseCertificates(body []byte) ([]*x509.Certificate, error) {
	var answer struct{ Certificate, CertificateChain string }
	if json.Unmarshal(body, &answer) != nil {
		return nil, errors.New("returned a body that is not the JSON of GetCertificate")
	}
	var certs []*x509.Certificate
	rest := []byte(answer.Certificate + "\n" + answer.CertificateChain)
	for len(bytes.TrimSpace(rest)) > 0 {
		var block *pem.Block
		if rest = bytes.TrimSpace(rest); bytes.HasPrefix(rest, []byte("-----BEGIN CERTIFICATE-----")) {
			block, rest = pem.Decode(rest)
		}
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("returned a text that is not a certificate in PEM")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("returned a certificate that is damaged")
		}
		if certs = append(certs, cert); len(certs) > maxCertificates {
			return nil, fmt.Errorf("returned more than %d certificates", maxCertificates)
		}
	}
	if strings.TrimSpace(answer.Certificate) == "" {
		return nil, errors.New("returned no certificate")
	}
	return certs, nil
}
