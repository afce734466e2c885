package emulator

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestErrorRate(t *testing.T) {
	for _, tt := range []struct {
		status, want int
		code         string
	}{
		{0, 500, codeInternal}, {500, 500, codeInternal}, {503, 503, codeUnavailable}, {429, 429, codeThrottling},
		{400, 400, codeValidation}, {403, 403, codeAccessDenied}, {404, 404, codeNotFound},
	} {
		w := newTestEnv(t, Config{Faults: Faults{ErrorRate: 1, ErrorStatus: tt.status}})
		checkRefused(t, w.do(t, call{}), tt.want, tt.code, msgInjected)
	}
}

func TestErrorRateBetween(t *testing.T) {
	w := newTestEnv(t, Config{Faults: Faults{ErrorRate: 0.5}})
	seen := make(map[int]bool)
	for i := 0; i < 200 && len(seen) < 2; i++ { // fails with a probability of 2^-199
		seen[w.do(t, call{}).status] = true
	}
	if !seen[http.StatusCreated] || !seen[http.StatusInternalServerError] {
		t.Errorf("statuses are %v", seen)
	}
}

func TestFaultsDoNotAffectSTS(t *testing.T) {
	w := newTestEnv(t, Config{})
	c := issuedCredentials(w.do(t, call{}).session(t))
	w.server.faults = Faults{Hang: true, ErrorRate: 1, ErrorStatus: 500}
	if _, err := GetCallerIdentity(t.Context(), nil, w.url, c, testNow); err != nil {
		t.Error(err)
	}
}

// The actions of AWS Private CA fail with the codes and the statuses of their protocol.
func TestFaultsOfPrivateCA(t *testing.T) {
	w, c := newPrivateCA(t, nil)
	for status, want := range map[int]struct {
		status int
		code   string
	}{500: {500, codeInternal}, 503: {503, codeUnavailable}, 429: {400, codeThrottling}, 403: {400, codeAccessDenied}} {
		w.server.faults = Faults{ErrorRate: 1, ErrorStatus: status}
		for _, action := range []string{"IssueCertificate", "GetCertificate"} {
			got := w.pca(t, c, action, map[string]any{}, stsCall{})
			if got.status != want.status || got.Type != want.code || got.Message != msgInjected {
				t.Errorf("%s, %d: %+v, want %+v", action, status, got, want)
			}
		}
	}
	w.server.faults = Faults{Latency: 30 * time.Millisecond}
	start := time.Now()
	if got := w.pca(t, c, "IssueCertificate", map[string]any{}, stsCall{}); got.Type == "" || got.Message == msgInjected {
		t.Errorf("%+v", got)
	}
	if d := time.Since(start); d < 30*time.Millisecond {
		t.Errorf("response after %v", d)
	}
}

func TestLatency(t *testing.T) {
	w := newTestEnv(t, Config{Faults: Faults{Latency: 30 * time.Millisecond}})
	start := time.Now()
	w.do(t, call{}).session(t)
	if d := time.Since(start); d < 30*time.Millisecond {
		t.Errorf("response after %v", d)
	}
}

// A delayed request ends when the client disconnects, not at the server's read
// timeout.
func TestHang(t *testing.T) {
	for _, faults := range []Faults{{Hang: true}, {Latency: time.Hour}} {
		w := newTestEnv(t, Config{})
		w.server.faults = faults
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		returned := make(chan any, 1)
		ts := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			defer func() {
				v := recover()
				returned <- v
				panic(v)
			}()
			// Like ReadTimeout, but starting after the request has
			// arrived.
			if err := http.NewResponseController(rw).SetReadDeadline(time.Now().Add(250 * time.Millisecond)); err != nil {
				t.Error(err)
			}
			time.AfterFunc(500*time.Millisecond, cancel)
			w.server.ServeHTTP(rw, r)
		}))
		defer ts.Close()
		w.url = ts.URL

		resp, err := http.DefaultClient.Do(w.request(t, call{}).WithContext(ctx))
		if err == nil {
			resp.Body.Close()
			t.Fatalf("response with status %d", resp.StatusCode)
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("client's error is %v, want context.Canceled", err)
		}
		if v := <-returned; v != http.ErrAbortHandler {
			t.Errorf("handler ended with %v", v)
		}
	}
}
