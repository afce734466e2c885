package podidentity

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestReview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &apiServer{}
		r := server.reviewer()
		owns := []string{"own-1", " own-2\n"}
		r.Token = func() (string, error) { return owns[server.count()], nil }
		token := tokenUntil(time.Now().Add(time.Hour), "a")
		review := func(want int) {
			t.Helper()
			if got, err := r.Review(t.Context(), netip.Addr{}, token); err != nil || got != testPod {
				t.Errorf("%+v, %v", got, err)
			}
			if got := server.count(); got != want {
				t.Errorf("%d reviews, want %d", got, want)
			}
		}
		review(1)
		time.Sleep(maxAge - time.Second)
		review(1)
		time.Sleep(time.Second)
		review(2)
		if got := fmt.Sprint(server.authed); got != "[Bearer own-1 Bearer own-2]" {
			t.Errorf("Authorization: %s", got)
		}
	})
}

// TestReviewExpiry: an answer is not remembered for longer than the token is valid.
func TestReviewExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &apiServer{}
		r := server.reviewer()
		token := tokenUntil(time.Now().Add(10*time.Second), "a")
		for _, step := range []struct {
			after time.Duration // since the last step
			want  int           // reviews
			code  string
		}{
			{0, 1, ""}, {9 * time.Second, 1, ""}, {time.Second, 2, ""}, {0, 3, ""}, {maxSkew, 4, ""}, {time.Second, 4, ExpiredToken},
		} {
			time.Sleep(step.after)
			_, err := r.Review(t.Context(), netip.Addr{}, token)
			var refused *RefusedError
			if errors.As(err, &refused) != (step.code != "") || refused != nil && refused.Code != step.code || server.count() != step.want {
				t.Errorf("%+v: %v, %d reviews", step, err, server.count())
			}
		}
	})
}

// TestRefusalsAreNotRemembered: a pod may be created only after its token was first used.
func TestRefusalsAreNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &apiServer{}
		server.answer = func(*http.Request, string) (int, []byte, error) {
			if server.count() < 3 {
				return 201, goodAnswer(func(a *answer) { a.Status.Authenticated = false }), nil
			}
			return 201, goodAnswer(nil), nil
		}
		r, token := server.reviewer(), tokenUntil(time.Now().Add(time.Hour), "a")
		for i := range 4 {
			if _, err := r.Review(t.Context(), netip.Addr{}, token); (err == nil) != (i >= 2) {
				t.Errorf("review %d: %v", i+1, err)
			}
		}
		if server.count() != 3 {
			t.Errorf("%d reviews", server.count())
		}
	})
}

// TestMalformedTokens: no malformed token reaches the API server.
func TestMalformedTokens(t *testing.T) {
	server := &apiServer{}
	r := server.reviewer()
	for _, token := range []string{"", "a.b.c", strings.Repeat("a", maxToken+1), makeToken("{}", "x"), tokenUntil(time.Now().Add(-time.Hour), "x")} {
		_, err := r.Review(t.Context(), netip.Addr{}, token)
		var refused *RefusedError
		if !errors.As(err, &refused) {
			t.Errorf("%.40q: %v", token, err)
		}
	}
	if server.count() != 0 {
		t.Errorf("%d reviews", server.count())
	}
}

// TestTroubleIsTemporary: what is not an answer is no refusal, and its error names the
// cause.
func TestTroubleIsTemporary(t *testing.T) {
	token := tokenUntil(time.Now().Add(time.Hour), "a")
	status := func(code int, body string) func(*http.Request, string) (int, []byte, error) {
		return func(*http.Request, string) (int, []byte, error) { return code, []byte(body), nil }
	}
	own := func(text string) func() (string, error) { return func() (string, error) { return text, nil } }
	for _, test := range []struct {
		name   string
		answer func(*http.Request, string) (int, []byte, error)
		own    func() (string, error)
		want   string
	}{
		{"unauthorized", status(401, token), nil, "status 401: it does not accept"},
		{"forbidden", status(403, token), nil, "status 403: this agent needs the RBAC permission create on tokenreviews.authentication.k8s.io"},
		{"not found", status(404, ""), nil, "status 404: it is not"},
		{"too many requests", status(429, ""), nil, "status 429"},
		{"server error", status(500, token), nil, "status 500"},
		{"not available", status(503, ""), nil, "status 503"},
		{"redirect", status(302, ""), nil, "status 302"},
		{"empty", status(201, ""), nil, "not a TokenReview"},
		{"page", status(200, "<html>"), nil, "not a TokenReview"},
		{"huge", status(201, strings.Repeat(" ", maxAnswer)+"{}"), nil, "larger than 65536 bytes"},
		{"no network", func(*http.Request, string) (int, []byte, error) { return 0, nil, io.ErrUnexpectedEOF }, nil, "unexpected EOF"},
		{"an error with the token", func(_ *http.Request, token string) (int, []byte, error) {
			return 0, nil, errors.New("malformed: " + token)
		}, nil, "malformed: [token]"},
		{"no own token", nil, func() (string, error) { return "", io.ErrNoProgress }, "the token of this agent: " + io.ErrNoProgress.Error()},
		{"empty own token", nil, own(" \n"), "the token of this agent is empty"},
		{"own token with a line feed", nil, own("own\nX-Evil: 1"), "control characters"},
		{"own token that is not ASCII", nil, own("öwn"), "outside ASCII"},
		{"long own token", nil, own(strings.Repeat("o", maxToken+1)), "too long"},
	} {
		var log bytes.Buffer
		var err error
		synctest.Test(t, func(t *testing.T) {
			r := (&apiServer{answer: test.answer}).reviewer()
			r.Token, r.Logger = test.own, slog.New(slog.NewTextHandler(&log, nil))
			_, err = r.Review(t.Context(), netip.Addr{}, token)
			synctest.Wait() // for the log
		})
		var refused *RefusedError
		if err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if !strings.Contains(log.String(), "cannot be reviewed") {
			t.Errorf("%s: log %q", test.name, &log)
		}
		checkReason(t, err.Error()+strings.TrimSpace(log.String()), token)
		if strings.Contains(err.Error(), "own\n") {
			t.Errorf("%s: %v has the agent's token", test.name, err)
		}
	}
}

// TestRealServers: what only a real connection shows.
func TestRealServers(t *testing.T) {
	redirected := false
	for _, test := range []struct {
		name   string
		handle http.HandlerFunc
		want   string // "": accepted
	}{
		{"good", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(goodAnswer(nil)) }, ""},
		{"huge headers", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Huge", strings.Repeat("x", 2*maxAnswer))
			_, _ = w.Write(goodAnswer(nil))
		}, "headers exceeded"},
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, maxAnswer)); err != nil {
					return
				}
			}
		}, "larger than"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			redirected = redirected || r.URL.Path == "/elsewhere"
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "status 307"},
		{"cut", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10000")
			_, _ = w.Write(goodAnswer(nil))
		}, "unexpected EOF"},
		{"not HTTP", func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, "220 smtp.example.com\r\n")
				_ = conn.Close()
			}
		}, "malformed HTTP"},
	} {
		server := httptest.NewServer(test.handle)
		r := &Reviewer{Server: server.URL, Node: testNode}
		got, err := r.Review(t.Context(), netip.Addr{}, tokenUntil(time.Now().Add(time.Hour), "a"))
		if test.want == "" && (err != nil || got != testPod) || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %+v, %v", test.name, got, err)
		}
		server.Close()
	}
	if redirected {
		t.Error("a redirect was followed")
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.StartTLS()
	defer server.Close()
	r := &Reviewer{Server: server.URL, Node: testNode}
	if _, err := r.Review(t.Context(), netip.Addr{}, tokenUntil(time.Now().Add(time.Hour), "a")); !errors.As(err, new(*tls.CertificateVerificationError)) {
		t.Errorf("unknown authority: %v", err)
	}
}

// TestHangingServer: a review ends after Timeout, a caller earlier if its context does. The
// review continues for the next caller, even if the Transport ignores contexts.
func TestHangingServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		answer := make(chan struct{})
		server := &apiServer{answer: func(*http.Request, string) (int, []byte, error) { <-answer; return 201, goodAnswer(nil), nil }}
		r, token := server.reviewer(), tokenUntil(time.Now().Add(time.Hour), "a")
		r.Logger = slog.New(slog.NewTextHandler(&log, nil))
		start := time.Now()
		first, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Review(first, netip.Addr{}, token); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if _, err := r.Review(t.Context(), netip.Addr{}, token); err == nil || !strings.Contains(err.Error(), "did not answer within 5s") || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if server.count() != 1 {
			t.Errorf("%d reviews, want one for both", server.count())
		}
		close(answer)
		if got, err := r.Review(t.Context(), netip.Addr{}, token); err != nil || got != testPod {
			t.Errorf("%+v, %v", got, err)
		}
		synctest.Wait()
		if got := log.String(); strings.Count(got, "cannot be reviewed") != 1 || strings.Count(got, "reviewed again") != 1 {
			t.Errorf("log: %s", got)
		}
	})
}

// TestCanceledCaller: a caller that goes away does not end the review of the others.
func TestCanceledCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &apiServer{answer: func(r *http.Request, _ string) (int, []byte, error) {
			select {
			case <-time.After(time.Second):
				return 201, goodAnswer(nil), nil
			case <-r.Context().Done():
				return 0, nil, r.Context().Err()
			}
		}}
		r, token := server.reviewer(), tokenUntil(time.Now().Add(time.Hour), "a")
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := r.Review(ctx, netip.Addr{}, token); !errors.Is(err, context.Canceled) {
				t.Errorf("canceled caller: %v", err)
			}
		})
		synctest.Wait()
		for range 50 {
			all.Go(func() {
				if got, err := r.Review(t.Context(), netip.Addr{}, token); err != nil || got != testPod {
					t.Errorf("%+v, %v", got, err)
				}
			})
		}
		synctest.Wait()
		cancel()
		all.Wait()
		if server.count() != 1 {
			t.Errorf("%d reviews for 51 callers", server.count())
		}
	})
}

// TestManyReviews: the API server has at most maxRequests at a time, and no more than
// maxReviews wait.
func TestManyReviews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		server := &apiServer{answer: func(*http.Request, string) (int, []byte, error) { <-hang; return 201, goodAnswer(nil), nil }}
		r := server.reviewer()
		token := func(i int) string { return tokenUntil(time.Now().Add(time.Hour), fmt.Sprint(i)) }
		var all sync.WaitGroup
		for i := range maxReviews {
			all.Go(func() {
				if _, err := r.Review(t.Context(), testAddress(i%2), token(i)); err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrBusy) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if server.count() != maxRequests {
			t.Errorf("%d requests at a time", server.count())
		}
		if _, err := r.Review(t.Context(), netip.Addr{}, token(-1)); !errors.Is(err, ErrBusy) {
			t.Errorf("one too many: %v", err)
		}
		all.Wait()
		close(hang)
		synctest.Wait()
		if _, err := r.Review(t.Context(), netip.Addr{}, token(-1)); err != nil || len(r.reviews) != 0 || len(r.slots) != 0 {
			t.Errorf("after that: %v, %d reviews, %d slots", err, len(r.reviews), len(r.slots))
		}
	})
}

func testAddress(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}) }

// TestManyFalseTokens: an address that sends false tokens all the time does not delay the
// reviews for another one, and causes a limited number.
func TestManyFalseTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes, duration = 20 * time.Millisecond, 10 * time.Second
		server := &apiServer{answer: func(_ *http.Request, token string) (int, []byte, error) {
			time.Sleep(takes)
			return 201, goodAnswer(func(a *answer) { a.Status.Authenticated = strings.HasSuffix(token, "A") }), nil
		}}
		r := server.reviewer()
		var logged bytes.Buffer
		r.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		ctx, cancel := context.WithTimeout(t.Context(), duration)
		defer cancel()
		var all sync.WaitGroup
		for i := range maxReviews {
			all.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					_, err := r.Review(ctx, testAddress(1), tokenUntil(time.Now().Add(time.Hour), fmt.Sprintf("%d.%d", i, n))+"w")
					if errors.Is(err, ErrBusy) {
						time.Sleep(firstPause)
					}
				}
			})
		}
		time.Sleep(time.Second)
		good := 0
		for ; ctx.Err() == nil; good++ {
			start := time.Now()
			if _, err := r.Review(t.Context(), testAddress(2), makeToken(fmt.Sprintf(`{"exp":4102444800,"n":%d}`, good), "good")+"AA"); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > 2*takes {
				t.Fatalf("the review of another address took %v", took)
			}
		}
		all.Wait()
		if n, limit := server.count()-good, int(duration/refusalPause)*maxRequests/2; n > limit {
			t.Errorf("%d reviews of false tokens in %v; the limit is %d", n, duration, limit)
		}
		time.Sleep(defaultAPITimeout + refusalPause)
		synctest.Wait()
		if len(r.clients) != 0 || len(r.reviews) != 0 {
			t.Errorf("%d clients and %d reviews remain", len(r.clients), len(r.reviews))
		}
		if n := strings.Count(logged.String(), "\n"); n > 2 {
			t.Errorf("%d lines in the log, %s", n, logged.String())
		}
	})
}

func TestCheck(t *testing.T) {
	for _, test := range []struct{ server, node, want string }{
		{"https://10.0.0.1:443", "n", ""}, {"https://[fd00::1]:6443/k8s/clusters/c-1/", "n", ""}, {"http://127.0.0.1:8001", "n", ""},
		{"http://[::1]:8001", "n", ""}, {"http://localhost:8001", "n", ""},
		{"http://10.0.0.1", "n", "must begin with https://"}, {"http://localhost.example.com", "n", "must begin with https://"},
		{"ftp://10.0.0.1", "n", "must begin with https://"}, {"", "n", "must have a scheme"}, {"10.0.0.1:443", "n", "invalid"},
		{"kubernetes.default.svc", "n", "must have a scheme"}, {"https://", "n", "must have a scheme"},
		{"https://u:secret@10.0.0.1", "n", "nothing but a port"}, {"https://10.0.0.1?x", "n", "nothing but a port"},
		{"https://10.0.0.1/#x", "n", "nothing but a port"}, {"https://u:secret@10.0.0.1:x", "n", "invalid"},
		{"https://10.0.0.1", "", `"" is not the name of a node`}, {"https://10.0.0.1", "Node", `"Node" is not the name of a node`},
	} {
		r := &Reviewer{Server: test.server, Node: test.node}
		err := r.Check()
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%+v: %v", test, err)
		}
		if err != nil {
			if _, got := r.Review(t.Context(), netip.Addr{}, tokenUntil(time.Now().Add(time.Hour), "a")); got != err {
				t.Errorf("%+v: Review returned %v", test, got)
			}
		}
	}
	r := &Reviewer{Server: "https://[fd00::1]:6443/k8s/clusters/c-1/", Node: "n"}
	if err := r.Check(); err != nil || r.endpoint != "https://[fd00::1]:6443/k8s/clusters/c-1/apis/authentication.k8s.io/v1/tokenreviews" {
		t.Errorf("%s, %v", r.endpoint, err)
	}
}
