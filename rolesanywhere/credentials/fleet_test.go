package credentials_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/awsservice"
	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// A fleet is many machines, each with a Cache for each of its roles, that share
// the quota of one account in one Region. It lives in the simulated time of a
// synctest bubble.
type fleet struct {
	t     *testing.T
	began time.Time
	life  time.Duration
	nodes []*node

	mu      sync.Mutex
	rate    float64 // calls a second that the service accepts
	tokens  float64 // calls that it accepts at once: those of one second, but not less than minBurst
	filled  time.Time
	down    bool      // nobody reaches the service
	seconds []second  // since began
	waiting int       // nodes that have started and have no valid credentials, or had none when they were last asked
	ready   time.Time // when waiting last became 0
	expired int       // credentials that expired before they were renewed
	longest time.Duration
}

// A second counts the calls of one second.
type second struct{ calls, refused int32 }

// A node is one role of one machine.
type node struct {
	f       *fleet
	expires time.Time // of its credentials; zero: it has none
	waits   bool      // is counted in fleet.waiting
	process *process  // nil: not started
}

// A process is one run of the program on a machine. It has a Cache, which it
// asks for credentials when Cache.Status says that a renewal is due, as Cache.Run
// does.
type process struct {
	node  *node
	cache credentials.Cache
	timer *time.Timer
	kept  bool // the first call of the Source returns the credentials of the last process
}

// minBurst is the least number of calls that the service accepts at once.
const minBurst = 10

var (
	errThrottled = errors.New("ThrottlingException: Rate exceeded")
	errDown      = errors.New("connection refused")
	errEnded     = errors.New("the process has ended")
)

func newFleet(t *testing.T, size int, life time.Duration, rate float64) *fleet {
	f := &fleet{t: t, began: time.Now(), life: life, rate: rate, filled: time.Now(), nodes: make([]*node, size)}
	for i := range f.nodes {
		f.nodes[i] = &node{f: f}
	}
	return f
}

// start starts a process on each of nodes, at random times within spread. A
// process that runs there ends.
func (f *fleet) start(nodes []*node, spread time.Duration, keep bool) {
	for _, n := range nodes {
		delay := rand.N(spread + 1)
		time.AfterFunc(delay, func() { n.restart(keep) })
	}
}

func (n *node) restart(keep bool) {
	p := &process{node: n, kept: keep}
	p.cache.Source, p.cache.Renewed = p, p.renewed
	n.f.mu.Lock()
	if n.process != nil && n.process.timer != nil {
		n.process.timer.Stop()
	}
	n.process = p
	if !keep {
		n.expires = time.Time{}
	}
	if !n.waits {
		n.waits = true
		n.f.waiting++
	}
	n.f.mu.Unlock()
	p.ask()
}

// stop ends all processes. It leaves no goroutine behind.
func (f *fleet) stop() {
	f.mu.Lock()
	for _, n := range f.nodes {
		if n.process.timer != nil {
			n.process.timer.Stop()
		}
		n.process = nil
	}
	f.mu.Unlock()
	time.Sleep(time.Minute)
}

// awaitReady waits until all nodes that have started have credentials. It gives
// up after limit.
func (f *fleet) awaitReady(limit time.Duration) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Second) {
		synctest.Wait()
		f.mu.Lock()
		waiting := f.waiting
		f.mu.Unlock()
		if waiting == 0 {
			return true
		}
	}
	return false
}

func (f *fleet) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// at returns how many seconds have passed.
func (f *fleet) at() int { return int(time.Since(f.began) / time.Second) }

// ask does what a client does: it never gets expired credentials.
func (p *process) ask() {
	if c, err := p.cache.Current(context.Background()); err == nil && !c.Expires.After(time.Now()) {
		p.node.f.t.Errorf("the Cache returned %v at %v", c, time.Now())
	}
}

// renewed sets the time of the next renewal.
func (p *process) renewed(c credentials.Credentials, err error) {
	next := time.Until(p.cache.Status().Next)
	n, f, now := p.node, p.node.f, time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if n.process != p {
		return
	}
	if late := now.Sub(n.expires); !n.expires.IsZero() && late >= 0 {
		if err == nil {
			f.expired++
			f.longest = max(f.longest, late)
		} else if !n.waits {
			n.waits = true
			f.waiting++
		}
	}
	if err == nil {
		n.expires = c.Expires
		if n.waits {
			n.waits = false
			f.waiting--
			f.ready = now
		}
	}
	p.timer = time.AfterFunc(next, p.ask)
}

// Credentials implements credentials.Source with the retries of the client.
func (p *process) Credentials(ctx context.Context) (credentials.Credentials, error) {
	f := p.node.f
	if p.kept {
		p.kept = false
		f.mu.Lock()
		c := session(p.node.expires)
		f.mu.Unlock()
		if c.Check(time.Now()) == nil {
			return c, nil
		}
	}
	repeat := awsservice.Repeat{MaxAttempts: rolesanywhere.DefaultMaxAttempts, Logger: logging.OrDiscard(nil), Pause: await.Pause}
	return repeat.Do(ctx, func(time.Duration) (credentials.Credentials, error) {
		if err := f.call(p); err != nil {
			return credentials.Credentials{}, err
		}
		return session(time.Now().Add(f.life)), nil
	})
}

func session(expires time.Time) credentials.Credentials {
	return credentials.Credentials{AccessKeyID: "ASIA", SecretAccessKey: "secret", SessionToken: "token", Expires: expires}
}

// call asks the service once.
func (f *fleet) call(p *process) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.node.process != p {
		return errEnded
	}
	now := time.Now()
	at := int(now.Sub(f.began) / time.Second)
	for len(f.seconds) <= at {
		f.seconds = append(f.seconds, second{})
	}
	s := &f.seconds[at]
	s.calls++
	f.tokens = min(max(f.rate, minBurst), f.tokens+now.Sub(f.filled).Seconds()*f.rate)
	f.filled = now
	switch {
	case f.down:
		s.refused++
		return awsservice.MayRetry(unavailable, "", errDown)
	case f.tokens < 1:
		s.refused++
		return awsservice.MayRetry(unavailable, "", errThrottled)
	}
	f.tokens--
	return nil
}

var unavailable = &http.Response{StatusCode: http.StatusTooManyRequests}
