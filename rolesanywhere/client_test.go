package rolesanywhere

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/internal/awsservice"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// identity returns a signer with a chain of the given CA.
func identity(t testing.TB, ca *signertest.CA, kind string) signer.Signer {
	t.Helper()
	key := signertest.Key(t, kind)
	s, err := signer.Bind(signer.FromKey(key), append(ca.Chain(), ca.Issue(t, key, nil)), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// startEmulator starts an emulator and returns the config of a client for it.
func startEmulator(t testing.TB, ca *signertest.CA, change func(*emulator.Config)) Config {
	t.Helper()
	cfg := emulator.Config{TrustAnchors: []emulator.TrustAnchor{{Certificates: signertest.CertPEM(ca.Root())}}}
	if change != nil {
		change(&cfg)
	}
	s, err := emulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return Config{
		TrustAnchorARN: s.TrustAnchorARNs()[0],
		ProfileARN:     s.ProfileARNs()[0],
		RoleARN:        s.RoleARNs()[0],
		Endpoint:       server.URL,
	}
}

func TestCredentials(t *testing.T) {
	for _, kind := range []string{"p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096"} {
		t.Run(kind, func(t *testing.T) {
			ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
			cfg := startEmulator(t, ca, nil)
			cfg.Signer = identity(t, ca, kind)
			client, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			creds, err := client.Credentials(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			who, err := emulator.GetCallerIdentity(t.Context(), http.DefaultClient, cfg.Endpoint, creds, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(who.ARN, "arn:aws:sts::111122223333:assumed-role/demo/") || creds.AccountID != "111122223333" {
				t.Errorf("caller is %s, account %s", who.ARN, creds.AccountID)
			}
		})
	}
}

// A key that takes only messages, such as one in an agent, gets credentials.
func TestCredentialsWithMessages(t *testing.T) {
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	for _, kind := range []string{"rsa2048", "p256", "p384"} {
		key := signertest.Key(t, kind)
		newFake := func() *signertest.MessageFake { return &signertest.MessageFake{Fake: signertest.Fake{Key: key}} }
		certs := append(ca.Chain(), ca.Issue(t, key, nil))
		for name, base := range map[string]signer.Signer{"Bind": newFake(), "Bind of FromKey": signer.FromKey(newFake())} {
			cfg := startEmulator(t, ca, nil)
			bound, err := signer.Bind(base, certs, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			cfg.Signer = bound
			client, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Credentials(t.Context()); err != nil {
				t.Errorf("%s, %s: %v", kind, name, err)
			}
			cfg.Signer = nil
			id, err := rotate.New(t.Context(), rotate.Config{Open: func(context.Context) (signer.Signer, error) { return bound, nil }})
			if err != nil {
				t.Fatal(err)
			}
			if client, err = NewRotating(cfg, id); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Credentials(t.Context()); err != nil {
				t.Errorf("%s, %s, lent: %v", kind, name, err)
			}
			if err := id.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// A deadline ends a session for which such a key hangs.
func TestMessageHangs(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	key := signertest.Key(t, "p256")
	release := make(chan struct{})
	defer close(release)
	cfg := startEmulator(t, ca, nil)
	cfg.Signer = &signertest.MessageFake{Fake: signertest.Fake{Key: key, Certificates: []*x509.Certificate{ca.Issue(t, key, nil)}, OnSign: func(int) error {
		<-release
		return nil
	}}}
	client, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Credentials(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestDurationAndSessionName(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	cfg := startEmulator(t, ca, func(c *emulator.Config) {
		c.Profiles = []emulator.Profile{{DurationSeconds: 1800, AcceptRoleSessionName: true}}
	})
	cfg.Signer = identity(t, ca, "p256")
	for _, c := range []struct {
		duration time.Duration
		name     string
		want     time.Duration
	}{
		{0, "", 30 * time.Minute}, // the profile's default
		{15 * time.Minute, "worker-1", 15 * time.Minute},
	} {
		cfg.Duration, cfg.SessionName = c.duration, c.name
		client, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		creds, err := client.Credentials(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if life := creds.Expires.Sub(before); life < c.want-time.Second || life > c.want+time.Minute {
			t.Errorf("requested duration %v: got %v, want %v", c.duration, life, c.want)
		}
		if c.name == "" {
			continue
		}
		who, err := emulator.GetCallerIdentity(t.Context(), http.DefaultClient, cfg.Endpoint, creds, time.Now())
		if err != nil || !strings.HasSuffix(who.ARN, "/"+c.name) {
			t.Errorf("caller is %v, %v", who, err)
		}
	}
}

const validResponse = `{"credentialSet":[{"credentials":{"accessKeyId":"ASIAEXAMPLE","secretAccessKey":"s3cr3t","sessionToken":"t0k3n","expiration":"2999-01-01T00:00:00Z"}}]}`

// scripted returns a client of a server that calls respond for its n-th
// response, counted from 1, the number of requests, and the delays between
// attempts, which the client skips.
func scripted(t *testing.T, respond func(n int, w http.ResponseWriter, r *http.Request)) (*Client, *atomic.Int32, *[]time.Duration) {
	t.Helper()
	count := new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // otherwise the server does not notice a closed connection
		respond(int(count.Add(1)), w, r)
	}))
	t.Cleanup(server.Close)
	cfg := validConfig()
	cfg.Endpoint = server.URL
	cfg.Signer = identity(t, signertest.NewCA(t, "root"), "p256")
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	pauses := new([]time.Duration)
	c.pause = func(ctx context.Context, d time.Duration) error {
		*pauses = append(*pauses, d)
		return ctx.Err()
	}
	return c, count, pauses
}

func respond(status int, body string, header ...string) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func TestRetries(t *testing.T) {
	for _, c := range []struct {
		status int
		header []string
		sent   int32
	}{
		{http.StatusBadRequest, nil, 1},
		{http.StatusForbidden, nil, 1},
		{http.StatusNotFound, nil, 1},
		{http.StatusTooManyRequests, nil, DefaultMaxAttempts},
		{http.StatusInternalServerError, nil, DefaultMaxAttempts},
		{http.StatusServiceUnavailable, nil, DefaultMaxAttempts},
		{http.StatusBadRequest, []string{"x-amzn-errortype", "ThrottlingException:http://x"}, DefaultMaxAttempts},
		{http.StatusServiceUnavailable, []string{"Retry-After", "60"}, 1}, // longer than the timeout
		{http.StatusServiceUnavailable, []string{"Retry-After", "1"}, DefaultMaxAttempts},
		{http.StatusMovedPermanently, []string{"Location", "/elsewhere"}, 1},
	} {
		client, sent, pauses := scripted(t, respond(c.status, `{"message":"no"}`, c.header...))
		_, err := client.Credentials(t.Context())
		if err == nil {
			t.Errorf("%d: no error", c.status)
		}
		var api *APIError
		if c.status >= 400 && (!errors.As(err, &api) || api.StatusCode != c.status) {
			t.Errorf("%d: error is %v", c.status, err)
		}
		if got := sent.Load(); got != c.sent {
			t.Errorf("%d %v: %d requests, want %d", c.status, c.header, got, c.sent)
		}
		for i, p := range *pauses {
			if p < awsservice.InitialDelay/2 || p > 2*awsservice.MaxDelay {
				t.Errorf("%d: pause %d is %v", c.status, i, p)
			}
		}
	}
}

func TestMaxAttempts(t *testing.T) {
	for _, limit := range []int{1, 2, 100} {
		for status, want := range map[int]int{http.StatusServiceUnavailable: limit, http.StatusForbidden: min(limit, 2)} {
			client, sent, _ := scripted(t, respond(status, `{"message":"no"}`, "Date", "Mon, 01 Jan 2001 00:00:00 GMT"))
			client.cfg.MaxAttempts = limit
			if _, err := client.Credentials(t.Context()); err == nil {
				t.Errorf("%d, %d attempts: no error", status, limit)
			}
			if got := int(sent.Load()); got != want {
				t.Errorf("%d, %d attempts: %d requests, want %d", status, limit, got, want)
			}
		}
	}
}

func TestRetrySucceeds(t *testing.T) {
	client, sent, _ := scripted(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n < 3 {
			respond(503, "")(n, w, r)
			return
		}
		if _, err := sigv4x509.Verify(r, []byte("{}")); err != nil {
			t.Errorf("request %d: %v", n, err)
		}
		respond(201, validResponse)(n, w, r)
	})
	creds, err := client.Credentials(t.Context())
	if err != nil || creds.AccessKeyID != "ASIAEXAMPLE" {
		t.Fatalf("%v, %v", creds, err)
	}
	if sent.Load() != 3 {
		t.Errorf("%d requests", sent.Load())
	}
}

// After an error response whose Date differs much from the local clock, the
// request is signed again, once, with the service's time.
func TestWrongClock(t *testing.T) {
	for _, offset := range []time.Duration{-30 * time.Minute, 10 * time.Minute} {
		ca := signertest.NewCA(t, "root")
		var requests atomic.Int32
		now := func() time.Time { return time.Now().Add(offset) }
		cfg := startEmulator(t, ca, func(c *emulator.Config) { c.Now = now; c.Events = countSessions{&requests} })
		key := signertest.Key(t, "p256")
		leaf := ca.Issue(t, key, func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(-24 * time.Hour) })
		s, err := signer.Bind(signer.FromKey(key), []*x509.Certificate{leaf}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		cfg.Signer = s
		cfg.Duration = 15 * time.Minute // already expired by a local clock that is ahead
		client, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		creds, err := client.Credentials(t.Context())
		if life := time.Until(creds.Expires); offset > 0 && (err != nil || life > cfg.Duration+time.Second || life < cfg.Duration-time.Minute) {
			t.Errorf("clock behind by %v: error %v, valid for %v by the local clock", offset, err, life)
		}
		if offset < 0 && !errors.Is(err, credentials.ErrIncomplete) {
			t.Errorf("clock ahead by %v: error %v, want credentials that have expired by the local clock", -offset, err)
		}
		if n := requests.Load(); n != 2 {
			t.Errorf("offset %v: %d requests, want 2", offset, n)
		}
	}

	client, sent, _ := scripted(t, respond(403, `{"message":"Invalid signature"}`, "Date", "Mon, 01 Jan 2001 00:00:00 GMT"))
	_, err := client.Credentials(t.Context())
	if sent.Load() != 2 || !strings.Contains(signer.Hint(err), "clock") {
		t.Errorf("%d requests, want 2; hint %q", sent.Load(), signer.Hint(err))
	}
}

// countSessions counts the requests of CreateSession in a log of events.
type countSessions struct{ n *atomic.Int32 }

func (c countSessions) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(`"eventName":"CreateSession"`)) {
		c.n.Add(1)
	}
	return len(p), nil
}

func TestUnexpectedResponses(t *testing.T) {
	for name, handler := range map[string]func(int, http.ResponseWriter, *http.Request){
		"empty":               respond(201, ""),
		"HTML":                respond(200, "<html>log in</html>"),
		"no content":          respond(204, ""),
		"other JSON":          respond(201, `{"a":1}`),
		"null credentials":    respond(201, `{"credentialSet":[{"credentials":null}]}`),
		"two sets":            respond(201, `{"credentialSet":[{},{}]}`),
		"missing secret":      respond(201, strings.Replace(validResponse, "s3cr3t", "", 1)),
		"bad expiration":      respond(201, strings.Replace(validResponse, "2999-01-01T00:00:00Z", "tomorrow", 1)),
		"expired":             respond(201, strings.Replace(validResponse, "2999", "1999", 1)),
		"wrong type":          respond(201, strings.Replace(validResponse, `"s3cr3t"`, `["s3cr3t"]`, 1)),
		"truncated":           respond(201, validResponse[:len(validResponse)/2]),
		"redirect":            respond(307, "", "Location", "https://example.com/"),
		"huge":                func(_ int, w http.ResponseWriter, _ *http.Request) { io.CopyN(w, endless{}, 8<<20) },
		"short of its length": respond(201, "{}", "Content-Length", "500"),
		"closed connection":   func(int, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"unrequested gzip":    respond(201, "\x1f\x8b\x08", "Content-Encoding", "gzip"),
	} {
		client, _, _ := scripted(t, handler)
		for _, client.cfg.Transport = range transports(t) {
			creds, err := client.Credentials(t.Context())
			if !errors.Is(err, ErrUnreachable) {
				t.Errorf("%s: %v, want ErrUnreachable", name, err)
				continue
			}
			if creds != (credentials.Credentials{}) {
				t.Errorf("%s: credentials returned with an error", name)
			}
			for _, secret := range []string{"s3cr3t", "t0k3n"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%s: the error contains a secret: %v", name, err)
				}
			}
		}
	}
}

// transports returns transports of both kinds.
func transports(t *testing.T) []http.RoundTripper {
	t.Helper()
	var all []http.RoundTripper
	for _, single := range []bool{false, true} {
		transport, err := NewTransport(TransportConfig{SingleUse: single})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, transport)
	}
	return all
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestTimeout(t *testing.T) {
	client, _, _ := scripted(t, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	client.cfg.Timeout = 50 * time.Millisecond
	for _, client.cfg.Transport = range transports(t) {
		_, err := client.Credentials(t.Context())
		if !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want ErrUnreachable and DeadlineExceeded", err)
		}
		if !strings.Contains(signer.Hint(err), "Config.Timeout") {
			t.Errorf("hint %q", signer.Hint(err))
		}
	}
}

func TestCancel(t *testing.T) {
	for _, transport := range transports(t) {
		ctx, cancel := context.WithCancel(t.Context())
		client, sent, _ := scripted(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		})
		client.cfg.Transport = transport
		if _, err := client.Credentials(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		if sent.Load() != 1 {
			t.Errorf("%d requests", sent.Load())
		}
	}
}

func TestAPIErrorForms(t *testing.T) {
	for _, c := range []struct {
		header, body  string
		code, message string
	}{
		{"AccessDeniedException:http://internal.amazon.com/", `{"message":"no"}`, "AccessDeniedException", "no"},
		{"", `{"__type":"com.amazonaws#ValidationException","Message":"bad"}`, "ValidationException", "bad"},
		{"", `{"code":"X","message":"y"}`, "X", "y"},
		{"", `<html>`, "", ""},
		{"", `{"message":"a\u001b[31mred\nline"}`, "", "a [31mred line"},
	} {
		client, _, _ := scripted(t, respond(403, c.body, "x-amzn-errortype", c.header))
		_, err := client.Credentials(t.Context())
		var api *APIError
		if !errors.As(err, &api) || api.Code != c.code || api.Message != c.message {
			t.Errorf("%q, %q: %#v", c.header, c.body, api)
		}
	}
	client, _, _ := scripted(t, respond(403, `{"message":"`+strings.Repeat("x", 100_000)+`"}`))
	if _, err := client.Credentials(t.Context()); len(err.Error()) > 1000 {
		t.Errorf("error text has %d bytes", len(err.Error()))
	}
}

// A server or proxy with a small limit of headers refuses many large certificates.
func TestHeadersTooLarge(t *testing.T) {
	client, _, _ := scripted(t, respond(http.StatusRequestHeaderFieldsTooLarge, ""))
	if _, err := client.Credentials(t.Context()); !errors.Is(err, ErrUnreachable) || !strings.Contains(signer.Hint(err), "headers of this size") {
		t.Errorf("%v; hint %q", err, signer.Hint(err))
	}
}

// Every cause in the table is found by its own message and not hidden by an
// earlier entry.
func TestCauses(t *testing.T) {
	for _, c := range causes {
		e := &APIError{StatusCode: c.status, Code: c.code, Message: "x " + c.message + " y"}
		if got := e.Hint(); got != c.hint {
			t.Errorf("%+v is hidden by the hint %q", c, got)
		}
	}
}

func TestSignerError(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	key := signertest.Key(t, "p256")
	cfg := startEmulator(t, ca, nil)
	cfg.Signer = &signertest.Fake{
		Key:          key,
		Certificates: []*x509.Certificate{ca.Issue(t, key, nil)},
		OnSign:       func(int) error { return fmt.Errorf("pulled: %w", signer.ErrUnavailable) },
	}
	client, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Credentials(t.Context()); !errors.Is(err, signer.ErrUnavailable) || errors.Is(err, ErrUnreachable) {
		t.Errorf("%v, want the signer's error", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	cfg := startEmulator(t, ca, nil)
	cfg.Signer = identity(t, ca, "p256")
	client, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if _, err := client.Credentials(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
