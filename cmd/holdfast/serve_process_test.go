package main

import (
	"io"
	"net/http"
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
	client := &http.Client{Timeout: 30 * time.Second}
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
