package podidentity

import (
	"context"
	"net/http"
	"net/netip"
	"time"
)

// A Handler serves credentials to pods at [Path]. Its responses are JSON: credentials in
// the format of package container, or Code and Message of an error. Errors have these
// statuses:
//
//	400  no token, or not a token
//	401  the token is refused
//	403  the pod has no role, its address is another one, or AWS refuses
//	404  another path
//	405  another method than GET or HEAD
//	429  too many reviews are in progress; with Retry-After
//	503  no credentials could be obtained yet; with Retry-After
//
// A request whose credentials are not in memory waits for them while the trouble is
// temporary, at most for Pool.Hold, including the review. Refusals are answered at once.
//
// Review, Grant and Pool are required. The fields must not be changed after the first
// use. A Handler is safe for concurrent use.
type Handler struct {
	// Review returns the pod of a token, as [Reviewer.Review] does.
	Review func(ctx context.Context, token string) (Pod, error)

	// Grant returns what a pod gets, or a [*RefusedError]. It must not block.
	Grant func(Pod) (Grant, error)

	Pool *Pool

	// SameAddress refuses a pod's token from another source address than that
	// of its first request in the last minute; IPv4 and IPv6 addresses each
	// have their own first one.
	SameAddress bool

	// Issued, unless nil, is called before each response with credentials and
	// each refusal of a token, of a pod or by AWS. It must not block.
	Issued func(Issue)

	Now func() time.Time // nil: time.Now
}

// An Issue is a record for an audit log. It contains no secrets.
type Issue struct {
	Pod     Pod    // zero if the token was refused
	RoleARN string // empty if there is none
	Address netip.Addr
	Expires time.Time // of the credentials
	Err     error     // why none were issued; nil: they were
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	http.Error(w, http.StatusText(http.StatusNotImplemented), http.StatusNotImplemented)
}
