package stepca

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"github.com/holdfast-dev/holdfast/signer"
)

// maxCertificates bounds the chain in an answer.
const maxCertificates = 16

// read returns the certificates of an answer to r, or the error that it means.
func (c *CA) read(r request, resp *http.Response, body []byte) ([]*x509.Certificate, error) {
	status := resp.StatusCode
	message := r.clean(messageOf(body))
	switch {
	case len(body) > maxAnswer:
		return nil, c.unexpected(fmt.Sprintf("the answer has more than %d KiB", maxAnswer>>10))
	case status == http.StatusCreated:
		certs, err := parse(body)
		if err != nil {
			return nil, c.unexpected(err.Error())
		}
		return certs, nil
	case status >= 300 && status < 400:
		return nil, c.unexpected(fmt.Sprintf("the answer is a redirect to %q", r.clean(resp.Header.Get("Location"))))
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusBadRequest && message != "":
		return nil, c.refused(r, status, message)
	case status >= 500, status == http.StatusTooManyRequests:
		text := fmt.Sprintf("the answer has status %d", status)
		if message != "" {
			text += ": " + message
		}
		return nil, signer.WithHint(c.failed(text), hintFor(message, "the log of the CA can say more; the request can be sent again"))
	}
	return nil, c.unexpected(fmt.Sprintf("the answer has status %d", status))
}

// messageOf returns the message of an error in the form of step-ca, or "".
func messageOf(body []byte) string {
	var answer struct{ Message string }
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	return answer.Message
}

// clean returns a text that a server may have determined as one line of limited
// length, without the tokens of r and their signatures, which it may have quoted.
func (r request) clean(text string) string {
	for _, token := range []string{r.secret, r.bearer} {
		if token != "" {
			text = strings.ReplaceAll(text, token, "(token)")
			text = strings.ReplaceAll(text, token[strings.LastIndexByte(token, '.')+1:], "(token)")
		}
	}
	return clip(text, 300)
}

// clip returns a text of others as one line without control characters, of at
// most so many characters.
func clip(s string, most int) string {
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

// parse returns the certificates of a successful answer, which are in PEM inside
// JSON. They are not verified.
func parse(body []byte) ([]*x509.Certificate, error) {
	var answer struct {
		Chain []string `json:"certChain"`
	}
	switch err := json.Unmarshal(body, &answer); {
	case err != nil:
		return nil, errors.New("the answer is not the JSON of step-ca")
	case len(answer.Chain) == 0:
		return nil, errors.New("the answer contains no certificate")
	case len(answer.Chain) > maxCertificates:
		return nil, fmt.Errorf("the answer contains more than %d certificates", maxCertificates)
	}
	var certs []*x509.Certificate
	for _, text := range answer.Chain {
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
