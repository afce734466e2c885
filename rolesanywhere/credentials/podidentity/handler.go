package podidentity

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/container"
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
	Review func(ctx context.Context, from netip.Addr, token string) (Pod, error)

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

	mu    sync.Mutex
	first memory[sender, netip.Addr]
}

// An Issue is a record for an audit log. It contains no secrets.
type Issue struct {
	Pod     Pod    // zero if the token was refused, unless it is of a pod of another node
	RoleARN string // empty if there is none
	Address netip.Addr
	Expires time.Time // of the credentials
	Err     error     // why none were issued; nil: they were
}

// A sender has one source address in a minute.
type sender struct {
	uid string
	is4 bool
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != Path {
		container.WriteError(w, http.StatusNotFound, "NotFound", "credentials are at "+Path)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		container.WriteError(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "use GET to read credentials")
		return
	}
	issue := Issue{Address: source(r)}
	body, err := h.credentials(r, &issue)
	issue.Err = err
	if h.Issued != nil && (err == nil || h.Pool.isRefused(err)) {
		h.Issued(issue)
	}
	if err == nil {
		container.Write(w, http.StatusOK, body)
		return
	}
	h.writeError(w, err, issue)
}

// statuses has the HTTP statuses of the codes of refusals other than 403.
var statuses = lookup.Table[string, int]{
	{MalformedToken, http.StatusBadRequest},
	{InvalidToken, http.StatusUnauthorized},
	{ExpiredToken, http.StatusUnauthorized},
}

func (h *Handler) writeError(w http.ResponseWriter, err error, issue Issue) {
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		status := cmp.Or(statuses.Get(refused.Code), http.StatusForbidden)
		container.WriteError(w, status, refused.Code, refused.Reason)
		return
	}
	// Other errors are for the log: they may describe the node.
	if h.Pool.isRefused(err) {
		container.WriteError(w, http.StatusForbidden, AccessDenied, "AWS refuses credentials of the role "+cmp.Or(issue.RoleARN, "of this pod")+"; see the log of the agent")
		return
	}
	w.Header().Set("Retry-After", "1")
	if errors.Is(err, ErrBusy) {
		container.WriteError(w, http.StatusTooManyRequests, "TooManyRequests", "the agent has too many requests")
		return
	}
	reason := "no valid credentials are available yet"
	if issue.Pod == (Pod{}) {
		reason = "the API server has not checked the token yet"
	}
	container.WriteError(w, http.StatusServiceUnavailable, "CredentialsNotAvailable", reason+"; see the log of the agent")
}

// credentials returns the document for a request, and adds to issue what it learns.
func (h *Handler) credentials(r *http.Request, issue *Issue) ([]byte, error) {
	ctx := r.Context()
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > h.Pool.hold() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, h.Pool.hold())
		defer cancel()
	}
	token, err := bearer(r.Header.Values("Authorization"))
	if err != nil {
		return nil, err
	}
	if issue.Pod, err = h.review(ctx, issue.Address, token); err != nil {
		return nil, err
	}
	if err := h.checkAddress(issue.Pod, issue.Address); err != nil {
		return nil, err
	}
	for {
		grant, err := h.Grant(issue.Pod)
		issue.RoleARN = grant.RoleARN
		if err != nil {
			return nil, err
		}
		e, c, err := h.Pool.get(ctx, grant)
		if errors.Is(err, errDropped) && ctx.Err() == nil {
			continue // the pod may have another grant now
		}
		if err != nil {
			return nil, err
		}
		issue.Expires = c.Expires
		return e.encoded.Bytes(c, e.encode)
	}
}

// firstPause is the pause before a second review after a temporary error. It doubles.
const firstPause = 200 * time.Millisecond

// review reviews the token, again after temporary errors, until ctx ends.
func (h *Handler) review(ctx context.Context, from netip.Addr, token string) (Pod, error) {
	var last error
	for pause := firstPause; ; pause *= 2 {
		pod, err := h.Review(ctx, from, token)
		if err == nil || isRefusal(err) {
			return pod, err
		}
		if ctx.Err() == nil || last == nil { // otherwise only the wait ended
			last = err
		}
		if await.Pause(ctx, pause) != nil {
			return Pod{}, last
		}
	}
}

// checkAddress refuses a pod that sends from another address than at first.
func (h *Handler) checkAddress(pod Pod, address netip.Addr) error {
	if !h.SameAddress {
		return nil
	}
	from, now := sender{pod.UID, address.Is4()}, h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	first, known := h.first.get(from, now)
	if known && first != address {
		return &RefusedError{AccessDenied, "the token of this pod was used at another address in the last minute"}
	}
	if !known {
		h.first.put(from, address, now, now.Add(maxAge))
	}
	return nil
}

// source returns the address of the client, or the zero value if it has none.
func source(r *http.Request) netip.Addr {
	client, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return client.Addr().Unmap().WithZone("")
}

func (h *Handler) now() time.Time {
	if h.Now == nil {
		return time.Now()
	}
	return h.Now()
}
