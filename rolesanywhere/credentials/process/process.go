// Package process writes credentials in the format that the AWS CLI and SDKs
// expect from the command of the credential_process setting.
//
// Source: AWS CLI User Guide, "Sourcing credentials with an external process".
package process

import (
	"encoding/json"
	"io"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// document has its fields in the order of the user guide.
type document struct {
	Version         int
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      string
	AccountID       string `json:"AccountId,omitempty"`
}

// Write writes c to w as one JSON document with a single call of w.Write, so
// that a client reads all of it or nothing. Expiration is rounded down to whole
// seconds and ends in Z, because every client can parse this form.
func Write(w io.Writer, c credentials.Credentials) error {
	b, err := json.Marshal(document{
		Version:         1,
		AccessKeyID:     c.AccessKeyID,
		SecretAccessKey: c.SecretAccessKey,
		SessionToken:    c.SessionToken,
		Expiration:      c.Expires.UTC().Format(time.RFC3339),
		AccountID:       c.AccountID,
	})
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
