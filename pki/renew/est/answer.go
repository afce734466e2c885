package est

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/internal/caclient"
	"github.com/holdfast-dev/holdfast/signer"
)

// mediaType is that of certificates (RFC 7030, sections 4.1.3 and 4.2.3).
const mediaType = "application/pkcs7-mime"

// read returns the certificates of an answer to r, or the error that it means.
func (c *CA) read(e enrolment, r caclient.Request, answer *caclient.Answer) ([]*x509.Certificate, error) {
	status := answer.Status
	enrols := r.Method == http.MethodPost
	text := fmt.Sprintf("the answer has status %d", status)
	if message := r.Clean(messageOf(answer)); message != "" {
		text += ": " + message
	}
	switch {
	case status == http.StatusOK:
		certs, err := parse(answer)
		if err != nil {
			return nil, c.client.Unexpected(err.Error())
		}
		return certs, nil
	case status == http.StatusAccepted && enrols:
		return nil, signer.WithHint(&renew.WaitError{After: c.retryAfter(answer.Header.Get("Retry-After"))},
			"send the same request again later; an administrator of the CA may have to confirm it")
	case status >= 500, status == http.StatusTooManyRequests:
		return nil, signer.WithHint(c.client.Failed(text), "the log of the CA can say more; the request can be sent again")
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		return nil, signer.WithHint(c.client.Failed(text), "check the URL and the label of the CA: it has no "+r.Path)
	case status == http.StatusUnauthorized, status == http.StatusForbidden, enrols && status == http.StatusBadRequest:
		return nil, c.refused(e, answer, text)
	}
	return nil, c.client.Unexpected(text)
}

// refused returns the error for a request that the CA does not grant.
func (c *CA) refused(e enrolment, answer *caclient.Answer, text string) error {
	hint := "the log of the CA can have the reason; check that it allows the names in the request"
	challenge := strings.ToLower(answer.Header.Get("WWW-Authenticate"))
	switch {
	case answer.Status == http.StatusBadRequest:
	case strings.HasPrefix(challenge, "digest"):
		hint = "the CA asks for HTTP Digest authentication, which is not supported; allow HTTP Basic at the CA"
	case e.password != "":
		hint = "check the user name and the password; some CAs accept a password for one certificate only"
	case answer.Status == http.StatusForbidden:
		hint = "the CA must allow that this certificate is renewed with the same subject and alternative names"
	default:
		hint = "the CA does not accept the certificate in use, or a proxy in front of it ends TLS; " + hintEnroll
	}
	return signer.WithHint(c.client.Rejected("refuses the request: "+text), hint)
}

// messageOf returns what an answer says in plain text, or "".
func messageOf(answer *caclient.Answer) string {
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if kind != "text/plain" {
		return ""
	}
	return string(answer.Body)
}

// maxWait bounds how long a CA can ask to wait.
const maxWait = 7 * 24 * time.Hour

// retryAfter returns the time of a Retry-After field (RFC 9110, section 10.2.3), or
// 0 if it has none.
func (c *CA) retryAfter(value string) time.Duration {
	value = strings.TrimSpace(value)
	var wait time.Duration
	if isDigits(value) {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(maxWait/time.Second) {
			return maxWait
		}
		wait = time.Duration(seconds) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		wait = date.Sub(c.config.Now())
	}
	return min(max(wait, 0), maxWait)
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// parse returns the certificates of a successful answer. They are not verified.
func parse(answer *caclient.Answer) ([]*x509.Certificate, error) {
	kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if err != nil || kind != mediaType {
		return nil, fmt.Errorf("the answer has the media type %q instead of %s", caclient.Clip(kind, 64), mediaType)
	}
	// The body is base64, with or without line breaks, whatever
	// Content-Transfer-Encoding says (RFC 8951, section 3).
	der, err := base64.StdEncoding.Strict().DecodeString(withoutSpaces(string(answer.Body)))
	if err != nil {
		return nil, errors.New("the answer is not base64")
	}
	return parseCertsOnly(der)
}

func withoutSpaces(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, s)
}
