// Package process writes credentials in the format that the AWS CLI and SDKs
// expect from the command of the credential_process setting.
//
// Source: AWS CLI User Guide, "Sourcing credentials with an external process".
package process

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// Write writes c to w as one JSON document with a single call of w.Write, so
// that a client reads all of it or nothing. Expiration is rounded down to whole
// seconds and ends in Z, because every client can parse this form. The members are in
// the order of the user guide.
func Write(w io.Writer, c credentials.Credentials) error {
	b := []byte(`{"Version":1`)
	add := func(name, value string) {
		b = fmt.Appendf(b, `,"%s":%s`, name, quote(value))
	}
	add("AccessKeyId", c.AccessKeyID)
	add("SecretAccessKey", c.SecretAccessKey)
	add("SessionToken", c.SessionToken)
	add("Expiration", c.Expires.UTC().Format(time.RFC3339))
	if c.AccountID != "" {
		add("AccountId", c.AccountID)
	}
	_, err := w.Write(append(b, "}\n"...))
	return err
}

// quote returns the JSON string of text. Package encoding/json, whose first use for output
// costs a process several page faults, does it for characters that AWS does not use.
func quote(text string) string {
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' || strings.IndexByte(`"\<>&`, c) >= 0 {
			quoted, _ := json.Marshal(text) // cannot fail for a string
			return string(quoted)
		}
	}
	return `"` + text + `"`
}
