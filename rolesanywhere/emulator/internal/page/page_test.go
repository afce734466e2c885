package page_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator/internal/page"
)

const hostile = `</script><script>alert(1)</script><img src=x onerror="alert(2)">'"` + "`${alert(3)}`"

func get(t *testing.T, path string, change func(*http.Request)) *http.Response {
	t.Helper()
	h := page.Handler(func() page.Snapshot {
		return page.Snapshot{Title: hostile, Sections: []page.Section{
			{ID: "names", Title: hostile, Columns: []string{hostile}, Rows: []page.Row{{Cells: []page.Cell{{hostile, "second"}}, Marked: true}}, Total: 7},
			{ID: "empty", Title: "Nothing"},
		}}
	})
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Host = "127.0.0.1:9910"
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func read(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEscaping(t *testing.T) {
	for path, scripts := range map[string]int{"/ui": 1, "/ui/data": 0} {
		body := read(t, get(t, path, nil))
		if n := strings.Count(body, "<script"); n != scripts || strings.Contains(body, "<img") {
			t.Errorf("%s has %d scripts, want %d:\n%s", path, n, scripts, body)
		}
		for _, want := range []string{"&lt;/script&gt;&lt;script&gt;alert(1)", "second", "1 of 7", "<p>None</p>", `class="marked"`} {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q:\n%s", path, want, body)
			}
		}
	}
}

// Only the script and the style of this response can run.
func TestPolicy(t *testing.T) {
	resp := get(t, "/ui", nil)
	policy := resp.Header.Get("Content-Security-Policy")
	nonces := regexp.MustCompile(`'nonce-([^']+)'`).FindAllStringSubmatch(policy, -1)
	if len(nonces) != 2 {
		t.Fatalf("policy is %q", policy)
	}
	body := read(t, resp)
	if n := strings.Count(body, ` nonce="`+nonces[0][1]+`"`); n != 2 {
		t.Errorf("the nonce is in %d elements, want 2", n)
	}
	if other := get(t, "/ui", nil).Header.Get("Content-Security-Policy"); other == policy {
		t.Error("two responses have the same nonce")
	}
	for _, want := range []string{"default-src 'none'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("policy %q lacks %q", policy, want)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") || strings.Contains(policy, "*") {
		t.Errorf("policy is %q", policy)
	}
	// Nothing is loaded from elsewhere, and no attribute needs a weaker policy.
	own := regexp.MustCompile(`(?s)&lt;.*?&gt;|// .*?\n`).ReplaceAllString(body, "") // without the values and comments
	if found := regexp.MustCompile(`//|\bsrc=|@import|url\(| on[a-z]+=| style=`).FindString(own); found != "" {
		t.Errorf("the page contains %q", found)
	}
}

func TestRules(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	method := func(m string) func(*http.Request) { return func(r *http.Request) { r.Method = m } }
	for _, test := range []struct {
		name, path string
		change     func(*http.Request)
		want       int
	}{
		{"page", "/ui", nil, 200},
		{"data", "/ui/data", header("Sec-Fetch-Site", "same-origin"), 200},
		{"query", "/ui?x=y", nil, 200},
		{"other path", "/ui/other", nil, 404},
		{"slash", "/ui/", nil, 404},
		{"HEAD", "/ui", method(http.MethodHead), 405},
		{"POST", "/ui", method(http.MethodPost), 405},
		{"PUT", "/ui/data", method(http.MethodPut), 405},
		{"PATCH", "/ui/data", method(http.MethodPatch), 405},
		{"DELETE", "/ui/other", method(http.MethodDelete), 405},
		{"OPTIONS", "/ui", method(http.MethodOptions), 405},
		{"own method", "/ui", method("get"), 405},
		{"foreign host", "/ui", func(r *http.Request) { r.Host = "evil.example:9910" }, 403},
		{"foreign host", "/ui/data", func(r *http.Request) { r.Host = "evil.example:9910" }, 403},
		{"no host", "/ui", func(r *http.Request) { r.Host = "" }, 403},
		{"foreign origin", "/ui/data", header("Origin", "http://evil.example"), 403},
		{"own origin", "/ui/data", header("Origin", "http://127.0.0.1:9910"), 200},
		{"another page", "/ui", header("Sec-Fetch-Site", "cross-site"), 403},
		{"proxy", "/ui", header("X-Forwarded-For", "127.0.0.1"), 403},
		{"body", "/ui", func(r *http.Request) { r.ContentLength = 1 }, 413},
	} {
		resp := get(t, test.path, test.change)
		if resp.StatusCode != test.want {
			t.Errorf("%s: %s is %d, want %d", test.name, test.path, resp.StatusCode, test.want)
		}
		if allow := resp.Header.Get("Allow"); (allow == http.MethodGet) != (test.want == 405) {
			t.Errorf("%s: Allow is %q", test.name, allow)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "X-Frame-Options": "DENY"} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", test.name, name, got, want)
			}
		}
		if test.want != 200 && strings.Contains(read(t, resp), "second") {
			t.Errorf("%s: the refusal has content", test.name)
		}
	}
}
