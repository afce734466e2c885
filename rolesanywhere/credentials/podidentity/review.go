package podidentity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
)

// A Reviewer checks the tokens of pods with the TokenReview API of the API server. It
// accepts tokens of this audience that are bound to a pod of this node.
//
// It remembers positive answers for 60 seconds, but never longer than a token is valid.
// It does not remember refusals. Requests for one token share one review, which
// continues if they stop waiting. The number of remembered answers and of reviews in
// progress, the size of answers and the time of a review are limited.
//
// A client can send any number of false tokens. At most half of the reviews are for one
// client address, and after a refusal a request for that address waits 100 milliseconds.
// A remembered token waits for nothing.
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

	prepare  sync.Once
	invalid  error // of the fields
	endpoint string
	client   *http.Client
	slots    chan struct{} // one for each request in progress

	mu      sync.Mutex
	known   memory[[sha256.Size]byte, Pod]
	reviews map[[sha256.Size]byte]*review // in progress
	clients map[netip.Addr]*client        // that have reviews in progress
	failing bool                          // the last message in the log is about a failure
	failed  time.Time                     // when there was one
	status  ReviewerStatus
}

// A review is one in progress. The results are set when done is closed.
type review struct {
	done chan struct{}
	pod  Pod
	err  error
}

// A client is an address with reviews in progress. Several pods can share one address if
// a network translates theirs.
type client struct {
	slots   chan struct{} // as those of the Reviewer
	reviews int
}

const (
	defaultAPITimeout = 5 * time.Second

	// maxReviews is how many reviews may be in progress or wait for that;
	// maxRequests is how many of them the API server has at a time.
	maxReviews  = 1_000
	maxRequests = 64

	// refusalPause limits how many reviews of false tokens one client address
	// can cause, to 320 each second. All agents of a cluster share the API server.
	refusalPause = 100 * time.Millisecond

	// logPause is the minimum time between two messages that reviews fail.
	logPause = 10 * time.Second
)

// ErrBusy is the error of [Reviewer.Review] if too many reviews are in progress.
var ErrBusy = errors.New("too many reviews of tokens are in progress")

// Check returns an error if a field is missing or invalid. Review returns it, too.
func (r *Reviewer) Check() error {
	r.prepare.Do(func() {
		r.endpoint, r.invalid = endpoint(r.Server)
		if r.invalid == nil && !isSubdomain(r.Node) {
			r.invalid = fmt.Errorf("%q is not the name of a node", r.Node)
		}
		r.client = &http.Client{
			Transport:     r.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		if r.Transport == nil {
			r.client.Transport = &http.Transport{ForceAttemptHTTP2: true, MaxResponseHeaderBytes: maxAnswer, IdleConnTimeout: time.Minute}
		}
		r.slots = make(chan struct{}, maxRequests)
		r.reviews = make(map[[sha256.Size]byte]*review)
		r.clients = make(map[netip.Addr]*client)
	})
	return r.invalid
}

// endpoint returns the URL for reviews.
func endpoint(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil { // which contains the URL, maybe with a password
		return "", errors.New("the URL of the API server is invalid")
	}
	loopback := u.Hostname() == "localhost"
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		loopback = ip.IsLoopback()
	}
	switch {
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("the URL of the API server must have a scheme, a host and nothing but a port and a path besides")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback):
		return "", fmt.Errorf("the URL of the API server, %s, must begin with https://", u)
	}
	return u.JoinPath("apis", apiVersion, "tokenreviews").String(), nil
}

// Review returns the pod that the token belongs to, which a client at the address from
// has sent; the zero value is one address, too. The error is a [*RefusedError] if
// the token is not accepted; if it belongs to a pod of another node, the pod is returned,
// too, for logs. Any other error means that the token could not be checked,
// or that ctx ended. No error contains the token.
func (r *Reviewer) Review(ctx context.Context, from netip.Addr, token string) (Pod, error) {
	if err := r.Check(); err != nil {
		return Pod{}, err
	}
	now := r.now()
	if len(token) > maxToken {
		_, err := expiry(token, now)
		return Pod{}, err
	}
	key := sha256.Sum256([]byte(token))
	r.mu.Lock()
	pod, found := r.known.get(key, now)
	r.mu.Unlock()
	if found {
		return pod, nil
	}
	expires, err := expiry(token, now)
	if err != nil {
		return Pod{}, err
	}
	v, err := r.join(ctx, from, key, token, now, expires)
	if err != nil {
		return Pod{}, err
	}
	select {
	case <-v.done:
		return v.pod, v.err
	case <-ctx.Done():
		return Pod{}, fmt.Errorf("waiting for the review of a token: %w", ctx.Err())
	}
}

// join returns the review of a token that is in progress, or starts one.
func (r *Reviewer) join(ctx context.Context, from netip.Addr, key [sha256.Size]byte, token string, now, expires time.Time) (*review, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v := r.reviews[key]; v != nil {
		return v, nil
	}
	c := r.clients[from]
	if len(r.reviews) >= maxReviews || c != nil && c.reviews >= maxReviews/2 {
		return nil, ErrBusy
	}
	if c == nil {
		c = &client{slots: make(chan struct{}, maxRequests/2)}
		r.clients[from] = c
	}
	c.reviews++
	v := &review{done: make(chan struct{})}
	r.reviews[key] = v
	go func() {
		taken := r.make(context.WithoutCancel(ctx), v, c, token)
		r.mu.Lock()
		delete(r.reviews, key)
		if v.err == nil {
			r.known.put(key, v.pod, now, expires)
		}
		r.mu.Unlock()
		close(v.done)
		r.log(v.err)
		r.leave(from, c, taken, v.err)
	}()
	return v, nil
}

// make sets the results of a review within Timeout, even if Token or Transport ignores its
// context. It reports whether it took a slot of the client, which leave returns.
func (r *Reviewer) make(ctx context.Context, v *review, c *client, token string) (taken bool) {
	ctx, cancel := r.limit(ctx)
	defer cancel()
	v.err = ErrBusy
	if taken = take(ctx, c.slots); taken {
		v.pod, v.err = r.request(ctx, token)
	}
	return taken
}

// limit returns a context that ends after Timeout.
func (r *Reviewer) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = defaultAPITimeout
	}
	return context.WithTimeoutCause(ctx, timeout, fmt.Errorf("the API server did not answer within %v: %w", timeout, context.DeadlineExceeded))
}

// request asks the API server when there is a slot, until ctx ends.
func (r *Reviewer) request(ctx context.Context, token string) (Pod, error) {
	if !take(ctx, r.slots) {
		return Pod{}, ErrBusy
	}
	pod, err := await.Result(ctx, func() (Pod, error) {
		defer func() { <-r.slots }()
		return r.ask(ctx, token)
	}, nil)
	r.record(err)
	return pod, err
}

// take waits for a slot until ctx ends.
func take(ctx context.Context, slots chan<- struct{}) bool {
	select {
	case slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// leave ends the review of a client. The client keeps its slot for a while after a refusal.
func (r *Reviewer) leave(from netip.Addr, c *client, taken bool, err error) {
	if isRefusal(err) {
		time.AfterFunc(refusalPause, func() { r.leave(from, c, taken, nil) })
		return
	}
	if taken {
		<-c.slots
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.reviews--; c.reviews == 0 {
		delete(r.clients, from)
	}
}

func isRefusal(err error) bool {
	_, refused := errors.AsType[*RefusedError](err)
	return refused
}

func (r *Reviewer) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}
