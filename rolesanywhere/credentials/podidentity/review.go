package podidentity

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// A Reviewer checks the tokens of pods with the TokenReview API of the API server. It
// accepts tokens of this audience that are bound to a pod of this node.
//
// It remembers positive answers for 60 seconds, but never longer than a token is valid.
// It does not remember refusals. Requests for one token share one review, which
// continues if they stop waiting. The number of remembered answers and of reviews in
// progress, the size of answers and the time of a review are limited.
//
// Server and Node are required. The fields must not be changed after the first use. The
// methods are safe for concurrent use.
type Reviewer struct {
	// Server is the URL of the API server. The scheme is https, or http if the
	// host is a loopback address.
	Server string

	Audience string // of tokens; "": [DefaultAudience]
	Node     string // the name of this node

	// Token returns the bearer token with which the agent itself authenticates
	// to the API server. It is called for each review and must be safe for
	// concurrent use. White space around the token is removed. nil: no token,
	// for example because Transport has a client certificate.
	Token func() (string, error)

	Transport http.RoundTripper // nil: one with the roots of the system and no proxy
	Timeout   time.Duration     // of a review; 0: 5 seconds
	Now       func() time.Time  // nil: time.Now
	Logger    *slog.Logger      // nil: discard
}

// Check returns an error if a field is missing or invalid. Review returns it, too.
func (r *Reviewer) Check() error { return errors.ErrUnsupported }

// Review returns the pod that the token belongs to. The error is a [*RefusedError] if
// the token is not accepted. Any other error means that the token could not be checked,
// or that ctx ended. No error contains the token.
func (r *Reviewer) Review(ctx context.Context, token string) (Pod, error) {
	return Pod{}, errors.ErrUnsupported
}
