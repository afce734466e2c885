package podidentity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// get sends a request with a token to h.
func get(t *testing.T, h http.Handler, token string, change func(*http.Request)) (*httptest.ResponseRecorder, map[string]string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, Path, nil)
	r.RemoteAddr = "10.1.2.3:4567"
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var body map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%v: %q %s", err, w.Header(), w.Body)
	}
	return w, body
}

func TestHandler(t *testing.T) {
	const roleARN = "arn:aws:iam::111122223333:role/a"
	type fakes struct {
		server   *apiServer
		source   *testSource
		handler  *Handler
		reviewer *Reviewer
	}
	status := func(status int) func(*fakes) {
		return func(f *fakes) {
			f.server.answer = func(*http.Request, string) (int, []byte, error) { return status, nil, nil }
		}
	}
	fails := func(err error) func(*fakes) {
		return func(f *fakes) { f.source.fail = func(int) error { return err } }
	}
	header := func(key string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[key] = values }
	}
	for _, test := range []struct {
		name    string
		set     func(*fakes)
		request func(*http.Request)
		status  int
		code    string
		message string
		took    time.Duration
		issued  bool
	}{
		{"good", nil, nil, 200, "", "", 0, true},
		{"HEAD", nil, func(r *http.Request) { r.Method = http.MethodHead }, 200, "", "", 0, true},
		{"Bearer", nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+r.Header.Get("Authorization")) }, 200, "", "", 0, true},
		{"another path", nil, func(r *http.Request) { r.URL.Path = "/" }, 404, "NotFound", Path, 0, false},
		{"a path below", nil, func(r *http.Request) { r.URL.Path = Path + "/" }, 404, "NotFound", Path, 0, false},
		{"POST", nil, func(r *http.Request) { r.Method = http.MethodPost }, 405, "MethodNotAllowed", "GET", 0, false},
		{"no token", nil, header("Authorization"), 400, MalformedToken, "one Authorization header", 0, true},
		{"two tokens", nil, header("Authorization", "a.b.c", "a.b.c"), 400, MalformedToken, "one Authorization header", 0, true},
		{"not a token", nil, header("Authorization", "Basic YTpi"), 400, MalformedToken, "three segments", 0, true},
		{"huge token", nil, header("Authorization", strings.Repeat("a", 1<<20)), 400, MalformedToken, "the limit is", 0, true},
		{"expired", nil, header("Authorization", tokenUntil(time.Unix(9e8, 0), "a")), 401, ExpiredToken, "1998-07-09", 0, true},
		{"refused", func(f *fakes) {
			f.server.answer = func(*http.Request, string) (int, []byte, error) { return 201, goodAnswer(extra("pod-uid")), nil }
		}, nil, 401, InvalidToken, "without a UID", 0, true},
		{"no role", func(f *fakes) {
			f.handler.Grant = func(p Pod) (Grant, error) {
				return Grant{}, &RefusedError{AccessDenied, "no role for " + p.Namespace}
			}
		}, nil, 403, AccessDenied, "no role for shop", 0, true},
		{"another refusal", func(f *fakes) {
			f.handler.Grant = func(p Pod) (Grant, error) { return Grant{}, &RefusedError{"Other", "closed"} }
		}, nil, 403, "Other", "closed", 0, true},
		{"mapping not loaded", func(f *fakes) {
			f.handler.Grant = func(p Pod) (Grant, error) { return Grant{}, errors.New("reading secret.toml") }
		}, nil, 503, "CredentialsNotAvailable", "see the log", 0, false},
		{"AWS refuses", fails(fmt.Errorf("%w: account 111122223333", errFinal)), nil, 403, AccessDenied, "AWS refuses credentials of the role " + roleARN, 0, true},
		{"AWS does not answer", fails(errTrouble), nil, 503, "CredentialsNotAvailable", "no valid credentials are available yet; see the log", DefaultHold, false},
		{"AWS is slow", func(f *fakes) { f.source.takes = time.Second }, nil, 200, "", "", time.Second, true},
		{"API server down", status(500), nil, 503, "CredentialsNotAvailable", "the API server has not checked the token yet; see the log", DefaultHold, false},
		{"no permission to review", status(403), nil, 503, "CredentialsNotAvailable", "see the log", DefaultHold, false},
		{"API server back after a while", func(f *fakes) {
			f.server.answer = func(*http.Request, string) (int, []byte, error) {
				if f.server.count() < 3 {
					return 0, nil, errTrouble
				}
				return 201, goodAnswer(nil), nil
			}
		}, nil, 200, "", "", 600 * time.Millisecond, true},
		{"API server hangs", func(f *fakes) {
			f.server.answer = func(r *http.Request, _ string) (int, []byte, error) {
				<-r.Context().Done()
				return 0, nil, r.Context().Err()
			}
		}, nil, 503, "CredentialsNotAvailable", "see the log", DefaultHold, false},
		{"both slow", func(f *fakes) {
			f.server.answer = func(*http.Request, string) (int, []byte, error) {
				time.Sleep(time.Second)
				return 201, goodAnswer(nil), nil
			}
			f.source.takes = time.Second
		}, nil, 503, "CredentialsNotAvailable", "see the log", DefaultHold, false},
		{"busy", func(f *fakes) {
			f.handler.Review = func(context.Context, netip.Addr, string) (Pod, error) { return Pod{}, ErrBusy }
		}, nil, 429, "TooManyRequests", "too many", DefaultHold, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				var issues []Issue
				logger := slog.New(slog.NewTextHandler(&log, nil))
				f := &fakes{server: &apiServer{}, source: &testSource{life: time.Hour}}
				f.reviewer = f.server.reviewer()
				f.reviewer.Logger = logger
				f.handler = &Handler{
					Review: f.reviewer.Review, Grant: func(Pod) (Grant, error) { return f.source.grant("a"), nil },
					Pool: &Pool{Refused: isFinal, Logger: logger}, Issued: func(i Issue) { issues = append(issues, i) },
				}
				if test.set != nil {
					test.set(f)
				}
				token := tokenUntil(time.Now().Add(time.Hour), "the pod")
				start := time.Now()
				w, body := get(t, f.handler, token, test.request)
				if w.Code != test.status || body["Code"] != test.code || !strings.Contains(body["Message"], test.message) || time.Since(start) != test.took {
					t.Errorf("%d %s after %v", w.Code, w.Body, time.Since(start))
				}
				if temporary := w.Code == 429 || w.Code == 503; temporary != (w.Header().Get("Retry-After") != "") || (w.Code == 405) != (w.Header().Get("Allow") != "") {
					t.Errorf("header %q", w.Header())
				}
				if w.Code == http.StatusOK && (body["AccessKeyId"] != "ASIAEXAMPLE1" || body["SecretAccessKey"] == "" || body["Token"] == "" || body["AccountId"] != "111122223333" || body["RoleArn"] != roleARN || body["Expiration"] == "") {
					t.Errorf("%s", w.Body)
				}
				if (len(issues) == 1) != test.issued || len(issues) > 1 {
					t.Fatalf("issued: %+v", issues)
				}
				for _, i := range issues {
					if i.Address != netip.MustParseAddr("10.1.2.3") || (i.Err == nil) != (w.Code == 200) || i.Err == nil && (i.Pod != testPod || i.RoleARN != roleARN || i.Expires.IsZero()) {
						t.Errorf("issued: %+v", i)
					}
				}
				time.Sleep(time.Minute) // for the reviews and renewals in progress
				synctest.Wait()
				for _, secret := range []string{token, token[strings.LastIndex(token, ".")+1:], "the/secret", "tokentoken"} {
					if strings.Contains(fmt.Sprint(log.String(), issues), secret) || w.Code != 200 && strings.Contains(w.Body.String(), secret) {
						t.Errorf("%q is in the log, in the records or in the answer", secret)
					}
				}
			})
		})
	}
}

// TestSameAddress: a second address of a pod is refused, but for one of the other family.
func TestSameAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &testSource{life: 24 * time.Hour}
		pod := testPod
		h := &Handler{
			Review: func(context.Context, netip.Addr, string) (Pod, error) { return pod, nil },
			Grant:  func(Pod) (Grant, error) { return source.grant("a"), nil },
			Pool:   &Pool{}, SameAddress: true,
		}
		for _, step := range []struct {
			uid, from string
			after     time.Duration
			status    int
		}{
			{"1", "10.0.0.1:1000", 0, 200},
			{"1", "10.0.0.1:1001", time.Second, 200},
			{"1", "10.0.0.2:1000", 0, 403},
			{"1", "[fd00::1]:1000", 0, 200},
			{"1", "[fd00::1%eth0]:1000", 0, 200},
			{"1", "[fd00::2]:1000", 0, 403},
			{"1", "[::ffff:10.0.0.1]:1000", 0, 200},
			{"1", "@", 0, 403},
			{"2", "10.0.0.2:1000", 0, 200},
			{"1", "10.0.0.2:1000", 58 * time.Second, 403},
			{"1", "10.0.0.2:1000", time.Second, 200}, // a minute after the first
			{"1", "10.0.0.1:1000", 0, 403},
		} {
			time.Sleep(step.after)
			pod.UID = step.uid
			w, body := get(t, h, "x", func(r *http.Request) { r.RemoteAddr = step.from })
			if w.Code != step.status || step.status == 403 && body["Code"] != AccessDenied {
				t.Errorf("%+v: %d %s", step, w.Code, w.Body)
			}
		}
	})
}

// TestNewMapping: a request that waits for the credentials of one role gets those of
// another one, or none, when the mapping changes.
func TestNewMapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hanging, source := &testSource{takes: time.Hour}, &testSource{life: time.Hour}
		denied := &RefusedError{AccessDenied, "no role any more"}
		for _, test := range []struct {
			err    error
			status int
		}{{nil, 200}, {denied, 403}} {
			var changed atomic.Bool
			var issued Issue
			h := &Handler{
				Review: func(context.Context, netip.Addr, string) (Pod, error) { return testPod, nil },
				Grant: func(Pod) (Grant, error) {
					if changed.Load() {
						return source.grant("new"), test.err
					}
					return hanging.grant("old"), nil
				},
				Pool: &Pool{}, Issued: func(i Issue) { issued = i },
			}
			stop := run(t, h.Pool)
			start := time.Now()
			time.AfterFunc(time.Second, func() {
				changed.Store(true)
				h.Pool.Keep(func(key string) bool { return key == "new" })
			})
			if w, _ := get(t, h, "x", nil); w.Code != test.status || time.Since(start) != time.Second || (issued.Err == nil) != (test.err == nil) {
				t.Errorf("%d %s after %v, %+v", w.Code, w.Body, time.Since(start), issued)
			}
			stop()
		}
		if _, cancelled := hanging.count(); cancelled != 2 {
			t.Errorf("%d renewals were cancelled", cancelled)
		}
	})
}

// TestClientGone: a request ends with its client, and the credentials are obtained for the
// next one.
func TestClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &testSource{life: time.Hour, takes: time.Second}
		h := &Handler{
			Review: (&apiServer{}).reviewer().Review,
			Grant:  func(Pod) (Grant, error) { return source.grant("a"), nil },
			Pool:   &Pool{},
		}
		token := tokenUntil(time.Now().Add(time.Hour), "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		start := time.Now()
		get(t, h, token, func(r *http.Request) { *r = *r.WithContext(ctx) })
		if time.Since(start) != time.Millisecond {
			t.Errorf("the request took %v", time.Since(start))
		}
		if w, _ := get(t, h, token, nil); w.Code != 200 || time.Since(start) != time.Second {
			t.Errorf("%d after %v", w.Code, time.Since(start))
		}
		if calls, _ := source.count(); calls != 1 {
			t.Errorf("%d calls", calls)
		}
	})
}
