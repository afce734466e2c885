package emulator

import (
	"net/http"
	"strings"
	"testing"
)

// Requests that a browser sends for a web page are refused, and are no events. The page of
// the emulator works.
func TestRequestsOfWebPages(t *testing.T) {
	w := newTestEnv(t, Config{UI: true})
	for _, tt := range []struct {
		method, path, header, value string
		refused                     bool
	}{
		{"POST", "/sessions", "Origin", "https://example.com", true},
		{"POST", "/sessions", "Origin", "null", true},
		{"POST", "/sessions", "Origin", "", true},
		{"OPTIONS", "/sessions", "Origin", "https://example.com", true},
		{"POST", "/sessions", "Sec-Fetch-Site", "cross-site", true},
		{"POST", "/", "Sec-Fetch-Site", "same-site", true},
		{"POST", "/?Action=GetCallerIdentity&Version=2011-06-15", "Sec-Fetch-Site", "cross-site", true},
		{"GET", "/trustanchors", "Sec-Fetch-Site", "cross-site", true},
		{"GET", "/trustanchors", "Sec-Fetch-Site", "", true},
		{"GET", "/trustanchors", "Sec-Fetch-Site", "none", false},
		{"GET", "/trustanchors", "Sec-Fetch-Site", "same-origin", false},
		{"GET", "/trustanchors", "X-Other", "x", false},
		{"GET", "/ui", "Sec-Fetch-Site", "none", false},
		{"GET", "/ui/data", "Sec-Fetch-Site", "same-origin", false},
		{"GET", "/ui/data", "Origin", w.url, false},
		{"GET", "/ui/data", "Sec-Fetch-Site", "cross-site", true},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, w.url+tt.path, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(tt.header, tt.value)
		before := w.server.history.size()
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		events := w.server.history.size() - before
		switch page := strings.HasPrefix(tt.path, PagePath); {
		case tt.refused && (resp.StatusCode != http.StatusForbidden || events != 0):
			t.Errorf("%+v: status %d, %d events", tt, resp.StatusCode, events)
		case !tt.refused && page && resp.StatusCode != http.StatusOK:
			t.Errorf("%+v: status %d", tt, resp.StatusCode)
		case !tt.refused && !page && events != 1:
			t.Errorf("%+v: %d events", tt, events)
		}
	}
}
