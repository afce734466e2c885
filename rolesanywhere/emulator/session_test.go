package emulator

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for _, tt := range []struct {
		profile, role, requested int // 0: not set
		lifetime                 time.Duration
		want                     int // 0: refused
	}{
		{0, 0, 0, 0, 3600},
		{900, 0, 0, 0, 900},
		{7200, 7200, 0, 0, 7200},
		{0, 0, 900, 0, 900},
		{0, 0, 43200, 0, 3600}, // silently limited to the profile's duration
		{1800, 0, 3600, 0, 1800},
		{7200, 7200, 3600, 0, 3600},
		{7200, 0, 3600, 0, 3600},
		{7200, 0, 0, 0, 0},
		{7200, 0, 3601, 0, 0},
		{43200, 43200, 43200, 0, 43200},
		{0, 0, 0, 2 * time.Second, 2},
		{7200, 0, 0, 2 * time.Second, 0},
	} {
		w := newTestEnv(t, Config{
			Profiles: []Profile{{DurationSeconds: tt.profile}},
			Roles:    []Role{{MaxSessionDuration: tt.role}},
			Faults:   Faults{SessionLifetime: tt.lifetime},
		})
		b := body()
		if tt.requested != 0 {
			b = body("durationSeconds", tt.requested)
		}
		a := w.do(t, call{body: b})
		if tt.want == 0 {
			checkRefused(t, a, http.StatusForbidden, codeAccessDenied, fmt.Sprintf(msgMaxDuration, testRole))
			continue
		}
		want := testNow.Add(time.Duration(tt.want) * time.Second).Format(time.RFC3339)
		if got := a.session(t).Credentials.Expiration; got != want {
			t.Errorf("%+v: expiration is %s, want %s", tt, got, want)
		}
	}
}

func TestSessionNameAndSourceIdentity(t *testing.T) {
	w := newTestEnv(t, Config{Profiles: []Profile{{AcceptRoleSessionName: true}}})
	for _, tt := range []struct {
		subject      pkix.Name
		serial       *big.Int
		requested    string
		name, source string
	}{
		{pkix.Name{CommonName: "client"}, big.NewInt(291), "", "0123", "CN=client"},
		{pkix.Name{CommonName: "client"}, big.NewInt(17767), "", "4567", "CN=client"},
		{pkix.Name{CommonName: "client"}, big.NewInt(291), "a+=,.@-_1", "a+=,.@-_1", "CN=client"},
		{pkix.Name{CommonName: "My client"}, big.NewInt(1), "", "01", "CN=My client"},
		{pkix.Name{Organization: []string{"x"}}, big.NewInt(291), "", "0123", "ID=0123"},
		{pkix.Name{Organization: []string{"x"}}, big.NewInt(0xabcdef), "me", "me", "ID=abcdef"},
		{pkix.Name{CommonName: strings.Repeat("x", 61)}, big.NewInt(1), "", "01", "CN=" + strings.Repeat("x", 61)},
		{pkix.Name{CommonName: strings.Repeat("x", 62)}, big.NewInt(1), "", "01", strings.Repeat("x", 62)},
		{pkix.Name{CommonName: strings.Repeat("ü", 61)}, big.NewInt(1), "", "01", "CN=" + strings.Repeat("ü", 61)},
		{pkix.Name{CommonName: strings.Repeat("x", 64)}, big.NewInt(1), "", "01", strings.Repeat("x", 64)},
	} {
		template := leafTemplate("")
		template.Subject, template.SerialNumber = tt.subject, tt.serial
		leaf := w.ca.certify(t, template, w.client.key.Public())
		b := body()
		if tt.requested != "" {
			b = body("roleSessionName", tt.requested)
		}
		got := w.do(t, call{body: b, chain: []*x509.Certificate{leaf}}).session(t)
		if want := "arn:aws:sts::111122223333:assumed-role/demo/" + tt.name; got.AssumedRoleUser.ARN != want {
			t.Errorf("assumed role is %s, want %s", got.AssumedRoleUser.ARN, want)
		}
		if !strings.HasSuffix(got.AssumedRoleUser.ID, ":"+tt.name) {
			t.Errorf("assumed role ID is %s, want session %s", got.AssumedRoleUser.ID, tt.name)
		}
		if got.SourceIdentity != tt.source {
			t.Errorf("source identity is %s, want %s", got.SourceIdentity, tt.source)
		}
	}
}

func TestRoleNameIsLastElement(t *testing.T) {
	arn := "arn:aws:iam::111122223333:role/teams/blue/worker"
	w := newTestEnv(t, Config{Roles: []Role{{ARN: arn}}})
	got := w.do(t, call{body: body("roleArn", arn)}).session(t)
	if want := "arn:aws:sts::111122223333:assumed-role/worker/0abc"; got.AssumedRoleUser.ARN != want {
		t.Errorf("assumed role is %s, want %s", got.AssumedRoleUser.ARN, want)
	}
}

// The stored expiration equals the one in the response.
func TestExpirationIsInWholeSeconds(t *testing.T) {
	if got := newSession(assumedRoleUser{}, "", testNow, 1999*time.Millisecond).Expires; !got.Equal(testNow.Add(time.Second)) {
		t.Errorf("expiration is %v", got)
	}
}

// A full table or role loses its expired sessions first, then the oldest one of the role.
func TestSessionsAreBounded(t *testing.T) {
	server := newServer(t, Config{Now: func() time.Time { return testNow }})
	add := func(role int, lifetime time.Duration) string {
		issued := newSession(assumedRoleUser{}, "", testNow, lifetime)
		issued.RoleARN = fmt.Sprint("role ", role)
		if err := server.change(func(c *changes) error { server.addSession(c, issued); return nil }); err != nil {
			t.Fatal(err)
		}
		return issued.AccessKeyID
	}
	known := func(key string) bool { _, ok := server.sessions.get(key); return ok }
	other := add(2, time.Hour)
	oldest, second, expired := add(1, time.Hour), add(1, time.Hour), add(1, 0)
	for range maxRoleSessions - 3 {
		add(1, time.Hour)
	}
	if !known(expired) {
		t.Fatal("an expired session was removed although the role was not full")
	}
	add(1, time.Hour)
	if known(expired) || !known(oldest) {
		t.Error("an older session was removed before an expired one")
	}
	newest := add(1, time.Hour)
	if known(oldest) || !known(second) || !known(newest) || !known(other) {
		t.Error("a session other than the oldest of the role was removed")
	}
	if n := len(server.sessions.keys); n != maxRoleSessions+2 {
		t.Errorf("%d sessions of the role, the other role and the administrator", n)
	}

	own := add(3, time.Hour)
	for i := 0; len(server.sessions.keys) < maxSessions; i++ {
		add(4+i%100, time.Hour)
	}
	if add(3, time.Hour); known(own) || !known(other) {
		t.Error("a session other than the oldest of the role was removed from the full table")
	}
	if add(200, time.Hour); known(other) || !known(second) || !known(server.admin.AccessKeyID) {
		t.Error("a session other than the oldest was removed for a new role")
	}
	if len(server.sessions.keys) != maxSessions || len(server.sessions.rows) != maxSessions {
		t.Errorf("%d and %d sessions, want %d", len(server.sessions.keys), len(server.sessions.rows), maxSessions)
	}
}
