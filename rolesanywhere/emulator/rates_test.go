package emulator

import (
	"crypto/x509"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
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

// Each caller has a rate of its own, besides that of all: a certificate, a user, or the
// session of a role, whichever credentials it has.
func TestCallerRates(t *testing.T) {
	now := testNow
	var log strings.Builder
	w, base := newChain(t, "", func(c *Config) {
		c.Rates = map[string]float64{"AssumeRole": 5}
		c.CallerRates = map[string]float64{"AssumeRole": 2, "CreateSession": 3}
		c.Now = func() time.Time { return now }
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	other := w.ca.issue(t, leafTemplate("other"))
	asOther := call{key: other.key, chain: []*x509.Certificate{other.cert}, body: body("roleArn", baseRole)}
	sameSession := issuedCredentials(w.do(t, call{body: body("roleArn", baseRole)}).session(t))
	w.do(t, call{body: body("roleArn", baseRole)}).session(t)
	checkRefused(t, w.do(t, call{body: body("roleArn", baseRole)}), http.StatusTooManyRequests, codeThrottling, msgRate)
	w.do(t, asOther).session(t)
	// A signature that is not valid does not count.
	asOther.after = func(r *http.Request) { r.Header.Set("Authorization", r.Header.Get("Authorization")+"00") }
	for range 3 {
		checkRefused(t, w.do(t, asOther), http.StatusForbidden, codeAccessDenied, msgInvalidSignature)
	}
	asOther.after = nil
	w.do(t, asOther).session(t)

	admin := w.server.Administrator()
	for i, tt := range []struct {
		c         credentials.Credentials
		throttled bool
	}{
		{base, false}, {base, false}, {sameSession, true},
		{admin, false}, {admin, false}, // five of all
		{issuedCredentials(w.do(t, asOther).session(t)), true},
	} {
		_, refused := w.assume(t, tt.c, "")
		if tt.throttled != (refused.Code == codeSTSThrottling && refused.Message == msgRate) || !tt.throttled && refused.Code != "" {
			t.Errorf("call %d: %s: %s, want throttled: %v", i+1, refused.Code, refused.Message, tt.throttled)
		}
	}
	now = now.Add(500 * time.Millisecond)
	if _, refused := w.assume(t, base, ""); refused.Code != "" {
		t.Errorf("after half a second: %s: %s", refused.Code, refused.Message)
	}
	w.stop()
	for _, want := range []string{"ThrottlingException: Rate exceeded (of this caller)", "Throttling: Rate exceeded (of this caller)", `"Throttling: Rate exceeded"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, log.String())
		}
	}
}

// A limiter forgets callers whose buckets are full again, and has a bound for the others.
func TestCallersAreForgotten(t *testing.T) {
	l := &limiter{rate: 1, buckets: make(map[string]bucket)}
	for i := range 2 * maxCallers {
		if !l.allow(strconv.Itoa(i), testNow) {
			t.Fatalf("caller %d is throttled", i)
		}
	}
	if len(l.buckets) != maxCallers {
		t.Errorf("%d callers are known", len(l.buckets))
	}
	last := strconv.Itoa(2*maxCallers - 1)
	if l.allow(last, testNow.Add(999*time.Millisecond)) {
		t.Error("the last caller is not throttled")
	}
	l.allow("new", testNow.Add(1001*time.Millisecond))
	if len(l.buckets) != 2 || l.allow(last, testNow.Add(1001*time.Millisecond)) != true {
		t.Errorf("%d callers are known, want the new and the last one", len(l.buckets))
	}
}

func TestRatesErrors(t *testing.T) {
	for _, rates := range []map[string]float64{{"GetSessionToken": 1}, {"AssumeRole": 0}, {"AssumeRole": -1}, {"AssumeRole": 0.5}, {"AssumeRole": math.Inf(1)}, {"AssumeRole": math.NaN()}} {
		for table, cfg := range map[string]Config{"rates: ": {Rates: rates}, "caller_rates: ": {CallerRates: rates}} {
			if _, err := newLimits(cfg); err == nil || !strings.HasPrefix(err.Error(), table) {
				t.Errorf("%s%v: %v", table, rates, err)
			}
		}
	}
}

func TestSessionLifetimeOfAssumeRole(t *testing.T) {
	w, base := newChain(t, "", func(c *Config) { c.Faults.SessionLifetime = 2 * time.Second })
	if out, refused := w.assume(t, base, ""); !out.issued(t).Expires.Equal(testNow.Add(2 * time.Second)) {
		t.Errorf("%+v, %+v", out, refused)
	}
}
