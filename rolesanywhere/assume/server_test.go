package assume

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
)

// static are the credentials of a source that no emulator knows.
var static = source(func() (credentials.Credentials, error) {
	return credentials.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "first-secret", SessionToken: "first-token", Expires: time.Now().Add(time.Hour)}, nil
})

// serve returns a config for a server with a handler.
func serve(t *testing.T, h http.HandlerFunc) Config {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return Config{Source: static, RoleARN: otherRole, Region: "us-east-1", Endpoint: server.URL}
}

func success(expires time.Time) string {
	return fmt.Sprintf(`<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
		<AccessKeyId>ASIASECOND</AccessKeyId><SecretAccessKey>second-secret</SecretAccessKey><SessionToken>second-token</SessionToken>
		<Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`, expires.UTC().Format(time.RFC3339))
}

func failure(code, message string) string {
	return "<ErrorResponse><Error><Type>Sender</Type><Code>" + code + "</Code><Message>" + message + "</Message></Error><RequestId>id</RequestId></ErrorResponse>"
}

// Transient errors are retried, including throttling, which STS reports with
// status 400.
func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
		calls  int32
	}{
		{"throttling", 400, failure("Throttling", "Rate exceeded"), 3},
		{"trouble", 500, failure("InternalFailure", "x"), 3},
		{"unavailable", 503, "<html>", 3},
		{"denied", 403, failure("AccessDenied", "x"), 1},
		{"invalid", 400, failure("ValidationError", "x"), 1},
	} {
		var calls atomic.Int32
		c := newClient(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if calls.Add(1) < 3 {
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
				return
			}
			_, _ = io.WriteString(w, success(time.Now().Add(time.Hour)))
		}))
		_, err := c.Credentials(t.Context())
		if (err == nil) != (tt.calls > 1) || calls.Load() != tt.calls {
			t.Errorf("%s: %v after %d calls, want %d", tt.name, err, calls.Load(), tt.calls)
		}
	}
}

func TestMaxAttempts(t *testing.T) {
	for _, limit := range []int{1, 2, 9} {
		var calls atomic.Int32
		cfg := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		cfg.MaxAttempts = limit
		if _, err := newClient(t, cfg).Credentials(t.Context()); err == nil || int(calls.Load()) != limit {
			t.Errorf("%v after %d calls, want %d", err, calls.Load(), limit)
		}
	}
}

// With a wrong clock, the request is signed again with the time of STS.
func TestWrongClock(t *testing.T) {
	for _, off := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		cfg := chain(t, "", nil)
		cfg.Now = func() time.Time { return time.Now().Add(off) }
		creds, err := newClient(t, cfg).Credentials(t.Context())
		if err != nil && off < 0 {
			t.Errorf("off by %v: %v", off, err)
		}
		// Ahead of STS by more than the session, the credentials look
		// expired.
		if off > 0 && (err == nil || !errors.Is(err, rolesanywhere.ErrUnreachable)) {
			t.Errorf("off by %v: %v", off, err)
		}
		if off < 0 && creds.Expires.After(cfg.Now().Add(time.Hour)) {
			t.Errorf("expires at %v, which is %v after the local time", creds.Expires, creds.Expires.Sub(cfg.Now()))
		}
	}
	cfg := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, failure("SignatureDoesNotMatch", "Signature expired"))
	})
	_, err := newClient(t, cfg).Credentials(t.Context())
	if !strings.Contains(signer.Hint(err), "the local clock is off by") {
		t.Errorf("%v, hint %q", err, signer.Hint(err))
	}
}

// A session that lasts longer than requested is refused by the time of the
// response, whatever the local clock says.
func TestLifetime(t *testing.T) {
	const none = time.Duration(math.MinInt64)
	now := time.Now().Truncate(time.Second)
	for _, tt := range []struct {
		name                string
		local               time.Duration // of the clock, compared with now
		date                time.Duration // of the response, likewise; none: no Date
		requested, lifetime time.Duration
		refused             bool
	}{
		{"as requested", 0, 0, 15 * time.Minute, 15 * time.Minute, false},
		{"shorter", 0, 0, 0, 15 * time.Minute, false},
		{"within the tolerance", 0, 0, 15 * time.Minute, 20 * time.Minute, false},
		{"too long", 0, 0, 15 * time.Minute, 20*time.Minute + time.Second, true},
		{"too long for the default", 0, 0, 0, 65*time.Minute + time.Second, true},
		{"local clock behind", -24 * time.Hour, 0, 0, time.Hour, false},
		{"local clock ahead", 30 * time.Minute, 0, 0, 2 * time.Hour, true},
		{"clock of STS behind", 0, -5 * time.Minute, 0, time.Hour, false},
		{"no Date", 0, none, 0, 24 * time.Hour, false},
	} {
		cfg := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Date"] = nil
			if tt.date != none {
				w.Header().Set("Date", now.Add(tt.date).UTC().Format(http.TimeFormat))
			}
			_, _ = io.WriteString(w, success(now.Add(tt.lifetime)))
		})
		cfg.Duration = tt.requested
		cfg.Now = func() time.Time { return now.Add(tt.local) }
		_, err := newClient(t, cfg).Credentials(t.Context())
		if (err != nil) != tt.refused {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.refused && (!errors.Is(err, rolesanywhere.ErrUnreachable) || !strings.Contains(err.Error(), "lasts until") || !strings.Contains(signer.Hint(err), "server other than STS")) {
			t.Errorf("%s: %v, hint %q", tt.name, err, signer.Hint(err))
		}
	}
}

func TestOtherServers(t *testing.T) {
	redirect := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusFound)
	}
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"redirect":         redirect,
		"HTML":             answer(200, "<html>second-secret</html>"),
		"JSON":             answer(200, `{"SecretAccessKey":"second-secret"}`),
		"broken XML":       answer(200, "<AssumeRoleResponse><second-secret"),
		"another response": answer(200, "<GetCallerIdentityResponse/>"),
		"empty":            answer(200, ""),
		"no expiration":    answer(200, strings.Replace(success(time.Now()), "Expiration", "X", 2)),
		"bad expiration":   answer(200, strings.Replace(success(time.Now()), "<Expiration>", "<Expiration>second-secret", 1)),
		"expired":          answer(200, success(time.Now().Add(-time.Hour))),
		"expires late":     answer(200, success(time.Now().Add(time.Hour+6*time.Minute))),
		"expires never":    answer(200, success(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC))),
		"no secret":        answer(200, strings.ReplaceAll(success(time.Now().Add(time.Hour)), "second-secret", "")),
		"large":            answer(200, success(time.Now().Add(time.Hour))+strings.Repeat(" ", 1<<20)),
		"not found":        answer(404, "404 page not found"),
		"proxy":            answer(407, ""),
		"bad gateway":      answer(502, "<html>"),
	} {
		_, err := newClient(t, serve(t, h)).Credentials(t.Context())
		if !errors.Is(err, rolesanywhere.ErrUnreachable) || signer.Hint(err) == "" || !strings.Contains(err.Error(), "STS") {
			t.Errorf("%s: %v, hint %q", name, err, signer.Hint(err))
		}
		if err != nil && strings.Contains(err.Error(), "second-secret") {
			t.Errorf("%s: the error contains a secret: %v", name, err)
		}
	}
}

// Secrets are neither in errors nor in logs.
func TestSecrets(t *testing.T) {
	var log strings.Builder
	cfg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); !strings.Contains(string(body), "Action=AssumeRole") {
			t.Errorf("body is %s", body)
		}
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, failure("AccessDenied", "no\x1b[31m\n"))
	})
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.ExternalID = "external-secret"
	_, err := newClient(t, cfg).Credentials(t.Context())
	for _, secret := range []string{"first-secret", "first-token", "external-secret"} {
		if strings.Contains(err.Error()+signer.Hint(err)+log.String(), secret) {
			t.Errorf("%s is in %v or in\n%s", secret, err, &log)
		}
	}
	if !strings.Contains(log.String(), "sending AssumeRole") {
		t.Errorf("log:\n%s", &log)
	}
}

// A server that does not answer is given up after the timeout.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{Source: static, RoleARN: otherRole, Region: "us-east-1", Transport: mute{}, Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		_, err = c.Credentials(t.Context())
		if d := time.Since(begin); !errors.Is(err, rolesanywhere.ErrUnreachable) || d != 5*time.Second {
			t.Errorf("%v after %v", err, d)
		}
	})
}

type mute struct{}

func (mute) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}
