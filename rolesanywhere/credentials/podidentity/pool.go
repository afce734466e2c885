package podidentity

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// A Grant says which credentials a pod gets.
type Grant struct {
	// Key names the credentials: equal keys share them. It therefore contains
	// everything that Open depends on. It appears in logs.
	Key string

	RoleARN string // for clients; may be empty

	// Open returns the Source of the credentials. It is called once for each
	// Key that is not in the Pool, and again if it failed. It must not block.
	Open func() (credentials.Source, error)
}

// A Pool keeps the credentials of each Key in a [credentials.Cache]. Run renews them
// in the background for as long as pods use them: a Key that nobody asked for during
// the life of its credentials is dropped. The Pool has at most 10,000 keys; another one
// replaces the one that was not asked for longest.
//
// The zero value is ready for use. The fields must not be changed after the first use.
// The methods are safe for concurrent use.
type Pool struct {
	// Hold is how long a request without valid credentials waits; 0:
	// [DefaultHold].
	Hold time.Duration

	// Refused reports whether an error of a Source or of Open is final, so that
	// it is returned at once. nil: only a [*RefusedError] is.
	Refused func(error) bool

	Now    func() time.Time // the wall clock; nil: time.Now
	Logger *slog.Logger     // nil: discard
}

// Credentials returns the credentials of a Grant. It does not wait if there are valid
// ones. Otherwise it waits for them, at most for Hold and until ctx ends, and tries again
// after temporary errors when the Cache does. It then returns the last error.
func (p *Pool) Credentials(ctx context.Context, g Grant) (credentials.Credentials, error) {
	return credentials.Credentials{}, errors.ErrUnsupported
}

// Run renews credentials until ctx ends, and returns ctx.Err(). Without Run, credentials
// are renewed only when somebody asks for them, and no key is dropped for being idle. Run
// must be called only once. Credentials that are valid are returned even after Run.
func (p *Pool) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// Keep drops all keys for which valid returns false, and cancels their renewals. Requests
// that wait for them fail with a temporary error. Grants of dropped keys should not be
// in use any more, because they would be opened again. valid must not call methods of p.
func (p *Pool) Keep(valid func(key string) bool) {}

// A PoolStatus describes the state of one Key.
type PoolStatus struct {
	Key     string
	RoleARN string
	credentials.Status
}

// Status returns the state of all keys, sorted by Key.
func (p *Pool) Status() []PoolStatus { return nil }
