package credentials

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Credentials are temporary AWS credentials. Package fmt, package log/slog and
// the JSON encoding omit the secret access key and the session token. But
// package fmt does not call methods of unexported fields: do not print a struct
// that has Credentials in an unexported field.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string `json:"-"`
	SessionToken    string `json:"-"`
	Expires         time.Time
	AccountID       string // 12 digits; may be empty
}

// A Source provides credentials. Implementations must be safe for concurrent
// use.
type Source interface {
	Credentials(ctx context.Context) (Credentials, error)
}

// ErrIncomplete is wrapped by the errors of [Credentials.Check]; test with
// errors.Is.
var ErrIncomplete = errors.New("credentials are not usable")

// Check returns an error that wraps [ErrIncomplete] if a client cannot use c at
// the time now, because a field other than AccountID is empty, a value contains
// white space or control characters, or c has expired.
func (c Credentials) Check(now time.Time) error {
	switch {
	case c.AccessKeyID == "":
		return fmt.Errorf("%w: no access key ID", ErrIncomplete)
	case c.SecretAccessKey == "":
		return fmt.Errorf("%w: no secret access key", ErrIncomplete)
	case c.SessionToken == "":
		return fmt.Errorf("%w: no session token", ErrIncomplete)
	case !visible(c.AccessKeyID) || !visible(c.SecretAccessKey) || !visible(c.SessionToken):
		return fmt.Errorf("%w: a value contains white space, control characters or characters outside ASCII", ErrIncomplete)
	case c.Expires.IsZero():
		return fmt.Errorf("%w: no expiration", ErrIncomplete)
	case !c.Expires.After(now):
		return fmt.Errorf("%w: expired at %s", ErrIncomplete, c.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' })
}

// Format implements [fmt.Formatter] for every verb.
func (c Credentials) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "%s (secrets redacted, expires %s)", c.AccessKeyID, c.Expires.UTC().Format(time.RFC3339))
}

// LogValue implements [slog.LogValuer].
func (c Credentials) LogValue() slog.Value {
	return slog.GroupValue(slog.String("access_key_id", c.AccessKeyID), slog.Time("expires", c.Expires))
}
