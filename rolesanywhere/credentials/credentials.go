package credentials

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Credentials are temporary AWS credentials. Printed by package fmt or logged,
// the secret key and the session token do not appear; the JSON encoding leaves
// them out too. Package fmt does not ask a value in an unexported field how it
// wants to be printed: a struct that holds Credentials so must not be printed.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string `json:"-"`
	SessionToken    string `json:"-"`
	Expires         time.Time
	AccountID       string // twelve digits; may be empty
}

// A Source makes new credentials with each call. Implementations are safe for
// concurrent use.
type Source interface {
	Credentials(ctx context.Context) (Credentials, error)
}

// ErrIncomplete is the error of [Credentials.Check]; test with errors.Is.
var ErrIncomplete = errors.New("credentials are incomplete")

// Check reports whether a client could use c at the time now: no part is
// blank and c has not expired.
func (c Credentials) Check(now time.Time) error {
	switch {
	case c.AccessKeyID == "":
		return fmt.Errorf("%w: no access key ID", ErrIncomplete)
	case c.SecretAccessKey == "":
		return fmt.Errorf("%w: no secret access key", ErrIncomplete)
	case c.SessionToken == "":
		return fmt.Errorf("%w: no session token", ErrIncomplete)
	case c.Expires.IsZero():
		return fmt.Errorf("%w: no expiration", ErrIncomplete)
	case !c.Expires.After(now):
		return fmt.Errorf("%w: expired at %s", ErrIncomplete, c.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// Format implements [fmt.Formatter] for every verb.
func (c Credentials) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "%s (secrets redacted, expires %s)", c.AccessKeyID, c.Expires.UTC().Format(time.RFC3339))
}

// LogValue implements [slog.LogValuer].
func (c Credentials) LogValue() slog.Value {
	return slog.GroupValue(slog.String("access_key_id", c.AccessKeyID), slog.Time("expires", c.Expires))
}
