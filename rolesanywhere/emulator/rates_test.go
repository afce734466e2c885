package emulator

import (
	"net/http"
	"testing"
	"time"
)

func TestRates(t *testing.T) {
	now := testNow
	w, base := newChain(t, "", func(c *Config) {
		c.Rates = map[string]float64{"AssumeRole": 2, "CreateSession": 3}
		c.Now = func() time.Time { return now }
	})
	count := func(n int) (throttled int) {
		for range n {
			if _, refused := w.assume(t, base, ""); refused.Code == codeSTSThrottling && refused.Message == msgRate {
				throttled++
			} else if refused.Code != "" {
				t.Errorf("%s: %s", refused.Code, refused.Message)
			}
		}
		return throttled
	}
	if n := count(5); n != 3 {
		t.Errorf("%d of 5 requests are throttled, want 3", n)
	}
	if _, err := GetCallerIdentity(t.Context(), nil, w.url, base, now); err != nil {
		t.Errorf("another action: %v", err)
	}
	now = testNow.Add(500 * time.Millisecond)
	if n := count(2); n != 1 {
		t.Errorf("%d of 2 requests are throttled after half a second, want 1", n)
	}
	now = testNow
	for range 2 { // after the one of newChain
		w.do(t, call{body: body("roleArn", baseRole)}).session(t)
	}
	checkRefused(t, w.do(t, call{body: body("roleArn", baseRole)}), http.StatusTooManyRequests, codeThrottling, msgRate)
}

func TestRatesErrors(t *testing.T) {
	for _, rates := range []map[string]float64{{"GetSessionToken": 1}, {"AssumeRole": 0}, {"AssumeRole": -1}, {"AssumeRole": 0.5}} {
		if _, err := newLimiters(rates); err == nil {
			t.Errorf("no error: %v", rates)
		}
	}
}

func TestSessionLifetimeOfAssumeRole(t *testing.T) {
	w, base := newChain(t, "", func(c *Config) { c.Faults.SessionLifetime = 2 * time.Second })
	if out, refused := w.assume(t, base, ""); !out.issued(t).Expires.Equal(testNow.Add(2 * time.Second)) {
		t.Errorf("%+v, %+v", out, refused)
	}
}
