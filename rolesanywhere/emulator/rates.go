package emulator

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// The names of the actions.
const (
	actionCreateSession     = "CreateSession"
	actionGetCallerIdentity = "GetCallerIdentity"
	actionAssumeRole        = "AssumeRole"
	actionIssueCertificate  = "IssueCertificate"
	actionGetCertificate    = "GetCertificate"
	actionLookupEvents      = "LookupEvents"
)

// maxCallers limits the callers that a limiter remembers.
const maxCallers = 10_000

// limits are the limiters of the actions, for all callers together and for each caller.
// AWS documents quotas of accounts only, so what counts as a caller is the emulator's own
// choice: the certificate for CreateSession, and the user or the session of a role for
// other actions.
type limits struct{ all, each map[string]*limiter } // by action

func newLimits(cfg Config) (limits, error) {
	all, err := newLimiters("rates", cfg.Rates)
	if err != nil {
		return limits{}, err
	}
	each, err := newLimiters("caller_rates", cfg.CallerRates)
	return limits{all, each}, err
}

func newLimiters(table string, rates map[string]float64) (map[string]*limiter, error) {
	known := []string{actionCreateSession, actionGetCallerIdentity, actionAssumeRole, actionIssueCertificate, actionGetCertificate}
	limiters := make(map[string]*limiter)
	for action, rate := range rates {
		switch {
		case !slices.Contains(known, action):
			return nil, fmt.Errorf("%s: unknown action %q; the known ones are %s", table, action, strings.Join(known, ", "))
		case !(rate >= 1): // also true for NaN
			return nil, fmt.Errorf("%s: %v requests per second of %s are less than 1", table, rate, action)
		case math.IsInf(rate, 1):
			return nil, fmt.Errorf("%s: the requests per second of %s are not finite", table, action)
		}
		limiters[action] = &limiter{rate: rate, buckets: make(map[string]bucket)}
	}
	return limiters, nil
}

// check refuses a request of a caller above the rate of the action or of the caller.
func (l limits) check(action, caller, code string, now time.Time) error {
	if err := l.checkAll(action, code, now); err != nil {
		return err
	}
	return l.checkCaller(action, caller, code, now)
}

func (l limits) checkAll(action, code string, now time.Time) error {
	if !l.all[action].allow("", now) {
		return refuse(code, msgRate)
	}
	return nil
}

func (l limits) checkCaller(action, caller, code string, now time.Time) error {
	if !l.each[action].allow(caller, now) {
		return refuse(code, msgRate).because(errors.New("of this caller"))
	}
	return nil
}

// A limiter limits the rate of an action, for each caller separately. It is safe for
// concurrent use; nil is no limit.
type limiter struct {
	rate float64 // requests per second

	mu      sync.Mutex
	buckets map[string]bucket // by caller
	swept   time.Time         // when idle callers were forgotten
}

// A bucket is a token bucket, which holds the requests of one second.
type bucket struct {
	tokens float64
	last   time.Time
}

// allow reports whether a request of a caller at the time now is within the rate.
func (l *limiter) allow(caller string, now time.Time) bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets[caller]
	if !ok {
		l.forget(now)
		b = bucket{l.rate, now}
	}
	b.tokens = min(l.rate, b.tokens+max(0, now.Sub(b.last).Seconds())*l.rate)
	b.last = now
	allowed := b.tokens >= 1
	if allowed {
		b.tokens--
	}
	l.buckets[caller] = b
	return allowed
}

// forget makes room for a caller. It forgets those that were idle for a second, because
// their buckets are full again, and any one if there are too many others.
func (l *limiter) forget(now time.Time) {
	if now.Sub(l.swept).Abs() >= time.Second {
		maps.DeleteFunc(l.buckets, func(_ string, b bucket) bool { return now.Sub(b.last).Abs() >= time.Second })
		l.swept = now
	}
	for caller := range l.buckets {
		if len(l.buckets) < maxCallers {
			return
		}
		delete(l.buckets, caller)
	}
}
