package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// ask makes one request; the answer's body is read.
func ask(t testing.TB, method, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// waitReady waits until every role has credentials.
func waitReady(t testing.TB, s *served) {
	t.Helper()
	eventually(t, "ready", func() bool {
		resp, _ := ask(t, "GET", s.status+"/readyz")
		return resp.StatusCode == http.StatusOK
	})
}

// credentialsOf asks the container endpoint.
func credentialsOf(t testing.TB, s *served, path string) (status int, keyID, expiration string) {
	t.Helper()
	resp, body := ask(t, "GET", s.url+path, "Authorization", s.tokenValue())
	var doc struct{ AccessKeyId, SecretAccessKey, Token, Expiration string }
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatalf("%v: %q", err, body)
	}
	if resp.StatusCode == http.StatusOK && (doc.AccessKeyId == "" || doc.SecretAccessKey == "" || doc.Token == "" || doc.Expiration == "") {
		t.Errorf("blanks: %q", body)
	}
	return resp.StatusCode, doc.AccessKeyId, doc.Expiration
}

// metric returns a line's value of /metrics, "" if it is not there.
func metric(t testing.TB, s *served, name string) string {
	t.Helper()
	_, body := ask(t, "GET", s.status+"/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
