package imds_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/imds"
)

var creds = credentials.Credentials{
	AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "the/secret+key", SessionToken: "the/session+token=",
	Expires: time.Date(2026, 11, 21, 13, 14, 15, 999, time.FixedZone("", 3600)),
}

// A testHandler is a Handler whose clock and error a test can set.
type testHandler struct {
	*imds.Handler
	now time.Time
	err error
}

func newTestHandler() *testHandler {
	w := &testHandler{now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	w.Handler = &imds.Handler{
		Current: func(context.Context) (credentials.Credentials, error) { return creds, w.err },
		Role:    "app", RoleARN: "arn:aws:iam::111122223333:role/app", Region: "eu-west-1",
		Tokens: imds.NewTokens(func() time.Time { return w.now }),
	}
	return w
}

func (w *testHandler) request(method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec
}

const (
	tokenHeader = "X-aws-ec2-metadata-token"
	ttlHeader   = "X-aws-ec2-metadata-token-ttl-seconds"
	base        = "/latest/meta-data/"
)

func (w *testHandler) token(t *testing.T, ttl string) string {
	t.Helper()
	rec := w.request("PUT", "/latest/api/token", ttlHeader, ttl)
	if rec.Code != http.StatusOK {
		t.Fatalf("status %d", rec.Code)
	}
	return rec.Body.String()
}

func TestToken(t *testing.T) {
	w := newTestHandler()
	for _, test := range []struct {
		method, ttl string
		want        int
	}{
		{"PUT", "1", 200}, {"PUT", "21600", 200}, {"PUT", "300", 200},
		{"PUT", "", 400}, {"PUT", "0", 400}, {"PUT", "21601", 400}, {"PUT", "-1", 400}, {"PUT", "+1", 400},
		{"PUT", "1.5", 400}, {"PUT", "99999999999999999999", 400}, {"PUT", "x", 400},
		{"GET", "60", 405}, {"POST", "60", 405},
	} {
		rec := w.request(test.method, "/latest/api/token", ttlHeader, test.ttl)
		if rec.Code != test.want {
			t.Errorf("%s with %q: status %d, want %d", test.method, test.ttl, rec.Code, test.want)
		}
		if test.want == 200 && (rec.Header().Get(ttlHeader) != test.ttl || rec.Body.Len() == 0) {
			t.Errorf("%s: header %q, %d bytes", test.ttl, rec.Header(), rec.Body.Len())
		}
	}
}

func TestTokenIsRequired(t *testing.T) {
	w := newTestHandler()
	valid := w.token(t, "60")
	status := func(token string) int { return w.request("GET", base+"instance-id", tokenHeader, token).Code }
	flipped := []byte(valid)
	flipped[0] ^= 1
	for name, token := range map[string]string{
		"other unused bits": valid[:len(valid)-1] + string(rune(valid[len(valid)-1]+1)),
		"padding":           valid[:len(valid)-2] + "==",
		"line end":          valid[:len(valid)-1] + "\n",
		"none":              "", "flipped": string(flipped), "truncated": valid[:len(valid)-1], "longer": valid + "A",
		"other process's": newTestHandler().token(t, "60"), "blanks": strings.Repeat(" ", len(valid)), "zeros": strings.Repeat("A", len(valid)),
	} {
		if got := status(token); got != http.StatusUnauthorized {
			t.Errorf("%s: status %d", name, got)
		}
	}
	if got := status(valid); got != http.StatusOK {
		t.Errorf("status %d", got)
	}
	w.now = w.now.Add(59 * time.Second)
	if got := status(valid); got != http.StatusOK {
		t.Errorf("one second before expiry: status %d", got)
	}
	w.now = w.now.Add(time.Second)
	if got := status(valid); got != http.StatusUnauthorized {
		t.Errorf("after expiry: status %d", got)
	}
	if got := w.request("GET", base).Code; got != http.StatusUnauthorized {
		t.Errorf("version 1: status %d", got)
	}
}

func TestDocuments(t *testing.T) {
	w := newTestHandler()
	token := w.token(t, "60")
	for _, test := range []struct {
		path string
		code int
		body string // "{": any JSON object
	}{
		{base + "iam/security-credentials", 200, "app"},
		{base + "iam/security-credentials/", 200, "app"},
		{base + "iam/security-credentials/other", 404, ""},
		{base + "iam/security-credentials/app/", 404, ""},
		{base + "placement/region", 200, "eu-west-1"},
		{base + "placement/availability-zone", 200, "eu-west-1a"},
		{base + "instance-id", 200, "i-00000000000000000"},
		{base + "iam/info", 200, "{"},
		{"/latest/dynamic/instance-identity/document", 200, "{"},
		{base + "iam/security-credentials/app", 200, "{"},
		{base + "nothing", 404, ""},
		{"/latest/", 404, ""},
		{"/", 404, ""},
		{"/2009-04-04/meta-data/", 404, ""},
	} {
		rec := w.request("GET", test.path, tokenHeader, token)
		if rec.Code != test.code {
			t.Errorf("%s: status %d, want %d", test.path, rec.Code, test.code)
		}
		switch body := rec.Body.String(); {
		case test.body == "{":
			if !json.Valid([]byte(body)) || rec.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%s: %q, %q", test.path, rec.Header(), body)
			}
		case test.code == 200 && body != test.body:
			t.Errorf("%s: %q, want %q", test.path, body, test.body)
		}
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			if rec := w.request(method, test.path, tokenHeader, token); rec.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: status %d", method, test.path, rec.Code)
			}
		}
	}
	w.Region = ""
	if rec := w.request("GET", base+"placement/region", tokenHeader, token); rec.Code != 404 {
		t.Errorf("no region: status %d, %q", rec.Code, rec.Body)
	}
}

func TestCredentials(t *testing.T) {
	w := newTestHandler()
	token := w.token(t, "60")
	rec := w.request("GET", base+"iam/security-credentials/app", tokenHeader, token)
	var got map[string]string
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{
		"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-11-21T12:00:00Z", "Expiration": "2026-11-21T12:14:15Z",
		"AccessKeyId": creds.AccessKeyID, "SecretAccessKey": creds.SecretAccessKey, "Token": creds.SessionToken,
	} {
		if got[k] != want {
			t.Errorf("%s is %q, want %q", k, got[k], want)
		}
	}
	w.err = errors.New("the reason, for the log only")
	rec = w.request("GET", base+"iam/security-credentials/app", tokenHeader, token)
	got = nil
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || rec.Code != http.StatusServiceUnavailable || got["Code"] != "CredentialsNotAvailable" {
		t.Errorf("no credentials: status %d, %v, %v", rec.Code, got, err)
	}
	if strings.Contains(rec.Body.String(), "reason") || strings.Contains(rec.Body.String(), creds.AccessKeyID) {
		t.Errorf("no credentials: %q", rec.Body)
	}
}

// The server does not store tokens.
func TestManyTokens(t *testing.T) {
	w := newTestHandler()
	first := w.token(t, "21600")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 100_000 {
		w.token(t, "21600")
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("100,000 tokens use %d KiB", grown>>10)
	}
	if got := w.request("GET", base+"instance-id", tokenHeader, first).Code; got != http.StatusOK {
		t.Errorf("the first token is no longer valid: status %d", got)
	}
}
