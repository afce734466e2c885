// Package process writes credentials as the credential_process setting of the
// AWS command line and SDKs reads them.
//
// Source: AWS CLI User Guide, "Sourcing credentials with an external process".
package process

import (
	"encoding/json"
	"io"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// document has its fields in the order that the user guide shows.
type document struct {
	Version         int
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      string
	AccountID       string `json:"AccountId,omitempty"`
}

// Write writes c to w as one JSON document with one call of w.Write, so that a
// client sees all of it or nothing. Expiration is in whole seconds with Z,
// the one form that every client parses, rounded down.
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
