package daemon_test

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

// The status page of a running serve shows the state that /readyz and /metrics report,
// and no secret.
func TestStatusPage(t *testing.T) {
	t.Parallel()
	s := clitest.NewSite(t, 10*time.Second)
	clitest.WaitReady(t, s.Served)
	resp, body := clitest.Ask(t, "GET", s.Status+"/", "Sec-Fetch-Site", "none")
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", resp.StatusCode, body)
	}
	for _, want := range []string{"<title>✓ No problems", "Role demo", "✓ ready", "ECDSA P-256, in file", "succeeded ", `<meta http-equiv="refresh" content="30">`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q:\n%s", want, body)
		}
	}
	_, text := clitest.Ask(t, "GET", s.URL+"/credentials", "Authorization", s.TokenValue())
	secrets := map[string]string{}
	if err := json.Unmarshal([]byte(text), &secrets); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(s.Path("key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	secrets["token of the endpoint"], secrets["key"] = s.TokenValue(), strings.Split(string(key), "\n")[1]
	for _, name := range []string{"AccessKeyId", "SecretAccessKey", "Token", "token of the endpoint", "key"} {
		if secret := secrets[name]; secret == "" || strings.Contains(body, secret) {
			t.Errorf("the page shows the %s, %q", name, secret)
		}
	}

	policy := resp.Header.Get("Content-Security-Policy")
	nonce := regexp.MustCompile(`^default-src 'none'; style-src 'nonce-([A-Z0-9]{26})'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$`).FindStringSubmatch(policy)
	if nonce == nil || strings.Count(body, `<style nonce="`+nonce[1]+`">`) != 1 {
		t.Errorf("policy %q", policy)
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Content-Type": "text/html; charset=utf-8", "Cross-Origin-Resource-Policy": "same-origin",
		"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if found := regexp.MustCompile(`<script|\bsrc=|url\(|@import|https?:| on[a-z]+=| style=`).FindString(body); found != "" {
		t.Errorf("the page contains %q", found)
	}

	for _, test := range []struct {
		method, path string
		header       []string
		want         int
	}{
		{"HEAD", "/", nil, 200},
		{"GET", "/?x=y", nil, 200},
		{"GET", "/", []string{"Sec-Fetch-Site", "same-origin"}, 200},
		{"GET", "/metrics", []string{"Sec-Fetch-Site", "same-origin"}, 200},
		{"POST", "/", nil, 405},
		{"PUT", "/", nil, 405},
		{"DELETE", "/", nil, 405},
		{"OPTIONS", "/", nil, 405},
		{"GET", "/favicon.ico", nil, 404},
		{"GET", "/", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"GET", "/", []string{"Origin", "http://evil.example"}, 403},
		{"GET", "/", []string{"X-Forwarded-For", "127.0.0.1"}, 403},
	} {
		resp, body := clitest.Ask(t, test.method, s.Status+test.path, test.header...)
		if resp.StatusCode != test.want {
			t.Errorf("%s %s with %q: status %d, want %d", test.method, test.path, test.header, resp.StatusCode, test.want)
		}
		if test.want >= 400 && strings.Contains(body, "demo") {
			t.Errorf("%s %s with %q: the refusal has content: %s", test.method, test.path, test.header, body)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.Status+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "rebound.example"
	if resp, err = http.DefaultClient.Do(r); err != nil || resp.StatusCode != 403 {
		t.Errorf("another host: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}

	s.Up.Break(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"message":"</td><script>alert(1)</script>"}`))
	})
	clitest.Eventually(t, "the page shows the failure", func() bool {
		_, body = clitest.Ask(t, "GET", s.Status+"/")
		return strings.Contains(body, "<title>✗ Problems with 1 of 1 role") && strings.Contains(body, "✗ not ready")
	})
	if strings.Contains(body, "<script") || !strings.Contains(body, "&lt;script&gt;") {
		t.Errorf("the error of the service is not escaped:\n%s", body)
	}
	s.Up.Heal()
	clitest.Eventually(t, "the page shows that all is well", func() bool {
		_, body = clitest.Ask(t, "GET", s.Status+"/")
		return strings.Contains(body, "<title>✓ No problems")
	})
}
