package stepca

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/holdfast-dev/holdfast/pki/renew/internal/caclient"
	"github.com/holdfast-dev/holdfast/signer"
)

// read returns the certificates of an answer to r, or the error that it means.
func (c *CA) read(r request, answer *caclient.Answer) ([]*x509.Certificate, error) {
	status := answer.Status
	message := caclient.Request{Secrets: r.secrets()}.Clean(messageOf(answer.Body))
	switch {
	case status == http.StatusCreated:
		certs, err := parse(answer.Body)
		if err != nil {
			return nil, c.client.Unexpected(err.Error())
		}
		return certs, nil
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusBadRequest && message != "":
		return nil, c.refused(r, status, message)
	case status >= 500, status == http.StatusTooManyRequests:
		text := fmt.Sprintf("the answer has status %d", status)
		if message != "" {
			text += ": " + message
		}
		return nil, signer.WithHint(c.client.Failed(text), hintFor(message, "the log of the CA can say more; the request can be sent again"))
	}
	return nil, c.client.Unexpected(fmt.Sprintf("the answer has status %d", status))
}

// messageOf returns the message of an error in the form of step-ca, or "".
func messageOf(body []byte) string {
	var answer struct{ Message string }
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	return answer.Message
}

// parse returns the certificates of a successful answer, which are in PEM inside
// JSON. They are not verified.
func parse(body []byte) ([]*x509.Certificate, error) {
	var answer struct {
		Chain []string `json:"certChain"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return nil, errors.New("the answer is not the JSON of step-ca")
	}
	return caclient.ParsePEM(answer.Chain)
}
