package podidentity

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A probe succeeds if the API server refuses its text, and fails as reviews do.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status, body := http.StatusForbidden, goodAnswer(nil)
		server := &apiServer{answer: func(*http.Request, string) (int, []byte, error) { return status, body, nil }}
		var log bytes.Buffer
		r := server.reviewer()
		r.Logger = slog.New(slog.NewTextHandler(&log, nil))
		if s := r.Status(); s != (ReviewerStatus{}) {
			t.Errorf("at first: %+v", s)
		}
		for range 2 {
			if err := r.Probe(t.Context()); err == nil || r.Status().Err != err || r.Status().Worked {
				t.Errorf("forbidden: %v, %+v", err, r.Status())
			}
		}
		status, body = http.StatusOK, []byte(`{"kind":"Status","apiVersion":"v1"}`)
		if err := r.Probe(t.Context()); err == nil || r.Status().Worked {
			t.Errorf("another kind: %v", err)
		}
		if n := strings.Count(log.String(), "cannot be reviewed"); n != 1 {
			t.Errorf("%d warnings, want 1:\n%s", n, &log)
		}
		body = goodAnswer(func(a *answer) { a.Status.Authenticated = false })
		if err := r.Probe(t.Context()); err != nil || !strings.Contains(log.String(), "can be reviewed again") {
			t.Errorf("%v\n%s", err, &log)
		}
		if s := r.Status(); s != (ReviewerStatus{Requests: 4, Failures: 3, Worked: true}) {
			t.Errorf("after a success: %+v", s)
		}
		status = http.StatusInternalServerError
		if _, err := r.Review(t.Context(), netip.Addr{}, tokenUntil(time.Now().Add(time.Hour), "a")); err == nil {
			t.Error("no error")
		}
		if s := r.Status(); s.Requests != 5 || s.Failures != 4 || !s.Worked || s.Err == nil {
			t.Errorf("after an outage: %+v", s)
		}
		for _, token := range server.asked[:4] {
			if _, err := expiry(token, time.Now()); !isRefusal(err) {
				t.Errorf("the probe sends the token %q", token)
			}
		}
	})
}
