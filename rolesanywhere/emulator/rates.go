package emulator

import (
	"fmt"
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

// A limiter limits the rate of an action. Its token bucket holds the requests of
// one second. It is safe for concurrent use; nil is no limit.
type limiter struct {
	rate float64 // requests per second

	mu     sync.Mutex
	tokens float64
	last   time.Time
}

func newLimiters(rates map[string]float64) (map[string]*limiter, error) {
	known := []string{actionCreateSession, actionGetCallerIdentity, actionAssumeRole, actionIssueCertificate, actionGetCertificate}
	limiters := make(map[string]*limiter)
	for action, rate := range rates {
		switch {
		case !slices.Contains(known, action):
			return nil, fmt.Errorf("rates: unknown action %q; the known ones are %s", action, strings.Join(known, ", "))
		case !(rate >= 1): // also true for NaN
			return nil, fmt.Errorf("rates: %v requests per second of %s are less than 1", rate, action)
		}
		limiters[action] = &limiter{rate: rate, tokens: rate}
	}
	return limiters, nil
}

// allow reports whether a request at the time now is within the rate.
func (l *limiter) allow(now time.Time) bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.last.IsZero() {
		l.tokens = min(l.rate, l.tokens+max(0, now.Sub(l.last).Seconds())*l.rate)
	}
	l.last = now
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}
