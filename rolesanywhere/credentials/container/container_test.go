package container_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/container"
)

var creds = credentials.Credentials{
	AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "the/secret+key", SessionToken: "the/session+token=",
	Expires:   time.Date(2026, 11, 21, 13, 14, 15, 999, time.FixedZone("", 3600)),
	AccountID: "111122223333",
}

func TestHandler(t *testing.T) {
	none := errors.New("the reason, for the log only")
	for _, test := range []struct {
		name, method, token, given string
		err                        error
		status                     int
		code                       string
	}{
		{"valid", "GET", "secret", "secret", nil, 200, ""},
		{"HEAD", "HEAD", "secret", "secret", nil, 200, ""},
		{"no token", "GET", "secret", "", nil, 401, "InvalidAuthorizationToken"},
		{"other token", "GET", "secret", "Secret", nil, 401, "InvalidAuthorizationToken"},
		{"longer token", "GET", "secret", "secrets", nil, 401, "InvalidAuthorizationToken"},
		{"shorter token", "GET", "secret", "secre", nil, 401, "InvalidAuthorizationToken"},
		{"as Bearer", "GET", "secret", "Bearer secret", nil, 401, "InvalidAuthorizationToken"},
		{"blank token", "GET", "", "", nil, 401, "InvalidAuthorizationToken"},
		{"POST", "POST", "secret", "secret", nil, 405, "MethodNotAllowed"},
		{"no credentials", "GET", "secret", "secret", none, 503, "CredentialsNotAvailable"},
		{"no credentials, no token", "GET", "secret", "", none, 401, "InvalidAuthorizationToken"},
	} {
		h := &container.Handler{
			Current: func(context.Context) (credentials.Credentials, error) { return creds, test.err },
			Token:   func() string { return test.token },
			RoleARN: "arn:aws:iam::111122223333:role/app",
		}
		r := httptest.NewRequest(test.method, "/any", nil)
		if test.given != "" {
			r.Header.Set("Authorization", test.given)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != test.status || rec.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: status %d, header %q", test.name, rec.Code, rec.Header())
		}
		var got map[string]string
		if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if test.status != http.StatusOK {
			if got["Code"] != test.code || got["Message"] == "" || strings.Contains(rec.Body.String(), "reason") || got["SecretAccessKey"] != "" {
				t.Errorf("%s: %q", test.name, rec.Body)
			}
			continue
		}
		for k, want := range map[string]string{
			"AccessKeyId": creds.AccessKeyID, "SecretAccessKey": creds.SecretAccessKey, "Token": creds.SessionToken,
			"Expiration": "2026-11-21T12:14:15Z", "AccountId": creds.AccountID, "RoleArn": h.RoleARN,
		} {
			if got[k] != want {
				t.Errorf("%s: %s is %q, want %q", test.name, k, got[k], want)
			}
		}
	}
}
