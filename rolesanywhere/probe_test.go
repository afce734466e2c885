package rolesanywhere

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestReach(t *testing.T) {
	date := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead || r.URL.RawQuery != "" || r.Header.Get("Authorization") != "" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		w.Header().Set("Date", date.Format(http.TimeFormat))
		w.WriteHeader(http.StatusMethodNotAllowed)
	}))
	defer server.Close()
	cfg := Config{
		TrustAnchorARN: "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001",
		ProfileARN:     "arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001",
		RoleARN:        "arn:aws:iam::111122223333:role/app",
		Endpoint:       server.URL,
	}
	r, err := cfg.Reach(t.Context())
	if err != nil || !r.Date.Equal(date) || r.Status != http.StatusMethodNotAllowed || r.TLS != nil || r.Server != server.Listener.Addr().String() {
		t.Errorf("%+v, %v", r, err)
	}
	server.Close()
	if r, err := cfg.Reach(t.Context()); !errors.Is(err, ErrUnreachable) || r.URL == nil || r.Server != "" {
		t.Errorf("%+v, %v", r, err)
	}
	if u := (Config{}).EndpointURL(); u != nil {
		t.Errorf("%v", u)
	}
	if _, err := (Config{}).Reach(t.Context()); !errors.Is(err, ErrConfig) {
		t.Errorf("%v", err)
	}
	cfg.Endpoint = ""
	if u := cfg.EndpointURL(); u == nil || u.Host != "rolesanywhere.us-east-1.amazonaws.com" {
		t.Errorf("%v", u)
	}
}
