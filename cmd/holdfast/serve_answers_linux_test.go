package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

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
