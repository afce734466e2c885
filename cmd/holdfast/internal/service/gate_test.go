package service

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// A request waits for Open and in the handler together, at most for Hold. Others do not
// wait.
func TestGate(t *testing.T) {
	for _, test := range []struct {
		name, path   string
		open         time.Duration // when Open is called; 0: before the request, negative: never
		status       int
		took, within time.Duration // until the response, and until the end of the context of the handler
	}{
		{"open", "/held", 0, 200, 0, time.Second},
		{"opened in time", "/held", 300 * time.Millisecond, 200, 300 * time.Millisecond, 700 * time.Millisecond},
		{"too late", "/held", -1, 503, time.Second, 0},
		{"not held", "/", 300 * time.Millisecond, 503, 0, 0},
		{"not held, open", "/", 0, 200, 0, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewGate(time.Second, func(r *http.Request) bool { return r.URL.Path == "/held" })
				within := time.Duration(0)
				open := func() {
					g.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						within = -1
						if end, ok := r.Context().Deadline(); ok {
							within = time.Until(end)
						}
					}))
				}
				if test.open == 0 {
					open()
				} else if test.open > 0 {
					time.AfterFunc(test.open, open)
				}
				begin, w := time.Now(), httptest.NewRecorder()
				g.ServeHTTP(w, httptest.NewRequest(http.MethodGet, test.path, nil))
				if took := time.Since(begin); w.Code != test.status || took != test.took || within != test.within {
					t.Errorf("status %d after %v, with %v left", w.Code, took, within)
				}
				if (w.Header().Get("Retry-After") == "") != (test.status == 200) {
					t.Errorf("headers %v", w.Header())
				}
				time.Sleep(time.Second) // until a late Open
			})
		})
	}
}

type source func() (credentials.Credentials, error)

func (s source) Credentials(context.Context) (credentials.Credentials, error) { return s() }

// Wait waits for the next attempt after a failed one.
func TestWait(t *testing.T) {
	for _, test := range []struct {
		failures int
		ok       bool
	}{{0, true}, {1, true}, {2, true}, {100, false}} {
		synctest.Test(t, func(t *testing.T) {
			failure, calls := errors.New("no network"), 0
			cache := &credentials.Cache{Source: source(func() (credentials.Credentials, error) {
				if calls++; calls <= test.failures {
					return credentials.Credentials{}, failure
				}
				return credentials.Credentials{AccessKeyID: "a", SecretAccessKey: "b", SessionToken: "c", Expires: time.Now().Add(time.Hour)}, nil
			})}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			begin := time.Now()
			c, err := Wait(ctx, cache, time.Now)
			switch took := time.Since(begin); {
			case test.ok && (err != nil || c.AccessKeyID != "a" || calls != test.failures+1):
				t.Errorf("%d failures: %v, %d calls", test.failures, err, calls)
			case !test.ok && (!errors.Is(err, failure) || took != 10*time.Second || calls > 10):
				t.Errorf("%d failures: %v after %v, %d calls", test.failures, err, took, calls)
			}
		})
	}
}

// Wait does not use up a processor when the Cache has stopped.
func TestWaitAfterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := &credentials.Cache{Source: source(func() (credentials.Credentials, error) { panic("called") })}
		stopped, stop := context.WithCancel(t.Context())
		stop()
		_ = cache.Run(stopped)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		asked := 0
		_, err := Wait(ctx, cache, func() time.Time { asked++; return time.Now() })
		if !errors.Is(err, context.Canceled) || asked > 30 {
			t.Errorf("%v, %d attempts", err, asked)
		}
	})
}
