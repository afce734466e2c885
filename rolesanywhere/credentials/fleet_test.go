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
// the quotas of one account in one Region. It lives in the simulated time of a
// synctest bubble.
type fleet struct {
	t        *testing.T
	began    time.Time
	machines [][]*node // those that start together

	mu       sync.Mutex
	services []*service
	down     bool // nobody reaches the services
}

// A service is one call of AWS with its quota, and what the fleet got from it.
type service struct {
	life    time.Duration // of the credentials
	rate    float64       // calls a second that it accepts
	tokens  float64       // calls that it accepts at once: those of one second, but not less than minBurst
	filled  time.Time
	seconds []second  // since the fleet began
	waiting int       // nodes that have started and have no valid credentials, or had none when they were last asked
	ready   time.Time // when the last one had credentials
	expired int       // credentials that expired before they were renewed
	longest time.Duration
}

// A second counts the calls of one second.
type second struct{ calls, refused int32 }

// A node is one role of one machine.
type node struct {
	f       *fleet
	service *service
	base    *node     // whose credentials it needs for a call; nil: none
	expires time.Time // of its credentials; zero: it has none
	waits   bool      // is counted in service.waiting
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

// newFleet returns a fleet of size, with a part of its quotas.
func newFleet(t *testing.T, size fleetSize, scale int) *fleet {
	f := &fleet{t: t, began: time.Now()}
	for _, q := range size.quotas() {
		f.services = append(f.services, &service{life: q.life, rate: q.rate / float64(scale), filled: time.Now()})
	}
	roles := f.services[len(f.services)-1]
	for range size.machines / scale {
		if size.base == nil { // its roles are independent of each other
			for range size.roles {
				f.machines = append(f.machines, []*node{{f: f, service: roles}})
			}
			continue
		}
		machine := []*node{{f: f, service: f.services[0]}}
		for range size.roles {
			machine = append(machine, &node{f: f, service: roles, base: machine[0]})
		}
		f.machines = append(f.machines, machine)
	}
	return f
}

// start starts the processes of each of machines, at random times within spread. Those
// that run there end. keep keeps the credentials of nodes without a base.
func (f *fleet) start(machines [][]*node, spread time.Duration, keep bool) {
	for _, m := range machines {
		delay := rand.N(spread + 1)
		time.AfterFunc(delay, func() {
			for _, n := range m {
				n.restart(keep && n.base == nil)
			}
		})
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
		n.service.waiting++
	}
	n.f.mu.Unlock()
	p.ask()
}

// stop ends all processes. It leaves no goroutine behind.
func (f *fleet) stop() {
	f.mu.Lock()
	for _, m := range f.machines {
		for _, n := range m {
			if n.process.timer != nil {
				n.process.timer.Stop()
			}
			n.process = nil
		}
	}
	f.mu.Unlock()
	time.Sleep(time.Minute)
}

// awaitReady waits until all nodes that have started have credentials. It gives
// up after limit.
func (f *fleet) awaitReady(limit time.Duration) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Second) {
		synctest.Wait()
		if f.waiting() == 0 {
			return true
		}
	}
	return false
}

func (f *fleet) waiting() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.services {
		n += s.waiting
	}
	return n
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
	n, f, s, now := p.node, p.node.f, p.node.service, time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if n.process != p {
		return
	}
	if late := now.Sub(n.expires); !n.expires.IsZero() && late >= 0 {
		if err == nil {
			s.expired++
			s.longest = max(s.longest, late)
		} else if !n.waits {
			n.waits = true
			s.waiting++
		}
	}
	if err == nil {
		n.expires = c.Expires
		if n.waits {
			n.waits = false
			s.waiting--
			s.ready = now
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
	if err := p.node.base.awaitCredentials(ctx); err != nil {
		return credentials.Credentials{}, err
	}
	repeat := awsservice.Repeat{MaxAttempts: rolesanywhere.DefaultMaxAttempts, Logger: logging.OrDiscard(nil), Pause: await.Pause}
	return repeat.Do(ctx, func(time.Duration) (credentials.Credentials, error) {
		if err := f.call(p); err != nil {
			return credentials.Credentials{}, err
		}
		return session(time.Now().Add(p.node.service.life)), nil
	})
}

// awaitCredentials waits until n has credentials, as a source that signs with them does.
func (n *node) awaitCredentials(ctx context.Context) error {
	if n == nil {
		return nil
	}
	n.f.mu.Lock()
	p := n.process
	n.f.mu.Unlock()
	if p == nil {
		return errEnded
	}
	_, err := p.cache.Credentials(ctx)
	return err
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
	s, now := p.node.service, time.Now()
	at := int(now.Sub(f.began) / time.Second)
	for len(s.seconds) <= at {
		s.seconds = append(s.seconds, second{})
	}
	during := &s.seconds[at]
	during.calls++
	s.tokens = min(max(s.rate, minBurst), s.tokens+now.Sub(s.filled).Seconds()*s.rate)
	s.filled = now
	switch {
	case f.down:
		during.refused++
		return awsservice.MayRetry(unavailable, "", errDown)
	case s.tokens < 1:
		during.refused++
		return awsservice.MayRetry(unavailable, "", errThrottled)
	}
	s.tokens--
	return nil
}

var unavailable = &http.Response{StatusCode: http.StatusTooManyRequests}
