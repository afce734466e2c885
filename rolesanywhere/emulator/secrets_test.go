package emulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// Parameters without effect are told in the log and in the event, by their names only.
func TestIgnoredParameters(t *testing.T) {
	long := strings.Repeat("é", maxBody/4)
	for _, tt := range []struct {
		name, line string
		call       call
		ignored    []string
	}{
		{"none", " status=201\n", call{}, nil},
		{"old name", " ignored=sessionName status=201\n", call{body: body("sessionName", "told-never")}, []string{"sessionName"}},
		{"null", " ignored=sessionName status=201\n", call{body: `{"sessionName":null,` + body()[1:]}, []string{"sessionName"}},
		{"query", " ignored=\"a durationSeconds b\" ", call{query: url.Values{"durationSeconds": {"900"}, "a": {"told-never", "told-never"}}, body: `{"b":["told-never"],` + body()[1:]}, []string{"a", "durationSeconds", "b"}},
		{"refused", " ignored=x status=404 reason=", call{body: body("roleArn", testRole+"2", "x", "told-never")}, []string{"x"}},
		{"control characters", ` ignored="\"a\\n\\x1b[0m\\u009b b\"" `, call{body: body("a\n\x1b[0m\u009b b", "told-never")}, []string{`"a\n\x1b[0m\u009b b"`}},
		{"separator", ` ignored="\"a b\" c" `, call{body: body("a b", "told-never", "c", "")}, []string{`"a b"`, "c"}},
		{"long", " ignored=", call{body: body(long, "told-never")}, []string{`"` + strings.Repeat("é", maxIgnoredName/2) + `…"`}},
		{"many", " ignored=\"0 1 10 11 12 13 14 15 16 17 …\" ", call{query: numbered(20), body: body()}, []string{"0", "1", "10", "11", "12", "13", "14", "15", "16", "17", "…"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			w := newTestEnv(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			w.do(t, tt.call)
			last := w.lookup(t, `{"LookupAttributes":[{"AttributeKey":"EventName","AttributeValue":"CreateSession"}],"MaxResults":1}`).Events[0]
			w.stop() // and with it the log
			var record struct{ AdditionalEventData additionalData }
			if err := json.Unmarshal([]byte(last.CloudTrailEvent), &record); err != nil {
				t.Fatal(err)
			}
			if got := record.AdditionalEventData.Ignored; strings.Join(got, "|") != strings.Join(tt.ignored, "|") {
				t.Errorf("the event has %q, want %q", got, tt.ignored)
			}
			line, _, _ := strings.Cut(log.String(), "\n")
			if !strings.Contains(line+"\n", tt.line) || len(line) > 1000 {
				t.Errorf("the line does not have %q: %.2000s", tt.line, line)
			}
			if strings.Contains(log.String()+last.CloudTrailEvent, "told-never") {
				t.Error("a value is told")
			}
		})
	}
}

func numbered(n int) url.Values {
	values := make(url.Values)
	for i := range n {
		values.Set(fmt.Sprint(i), "x")
	}
	return values
}

// No event and no line of the log has a secret key or a token, after calls of all kinds.
func TestNoSecrets(t *testing.T) {
	var log, events bytes.Buffer
	w, first := newPrivateCA(t, func(c *Config) {
		c.Events, c.Logger = &events, slog.New(slog.NewTextHandler(&log, nil))
		c.Roles = []Role{{}, {ARN: otherRole}}
	})
	admin := w.server.Administrator()
	unknown := credentials.Credentials{AccessKeyID: "ASIAUNKNOWN", SecretAccessKey: "not-a-known-secret-key", SessionToken: "not-a-known-session-token"}
	w.do(t, call{body: body("roleArn", testRole+"2")})
	w.do(t, call{body: body("sessionName", first.SecretAccessKey)})
	w.do(t, call{query: url.Values{headerToken: {first.SessionToken}}, body: body()})
	for _, c := range []credentials.Credentials{first, admin, unknown} {
		_, _ = GetCallerIdentity(t.Context(), nil, w.url, c, testNow)
		_, _ = GetCallerIdentity(t.Context(), nil, w.url, c, testNow.Add(time.Hour))
		w.sts(t, c, stsCall{body: "Action=AssumeRole&Version=2011-06-15&RoleSessionName=me&RoleArn=" + otherRole})
		w.sts(t, c, stsCall{body: "Action=AssumeRole&Version=2011-06-15&RoleSessionName=me&RoleArn=" + otherRole + "2"})
		w.pca(t, c, actionIssueCertificate, map[string]any{}, stsCall{})
		w.pca(t, c, actionGetCertificate, map[string]any{"CertificateAuthorityArn": testPrivateCA, "CertificateArn": "x"}, stsCall{})
		w.trail(t, c, actionLookupEvents, "{}")
		w.trail(t, c, "ListTrails", "{}")
		for _, r := range []struct{ method, path, body string }{
			{"GET", "/trustanchors", ""}, {"GET", "/subjects", ""}, {"GET", "/profile/x", ""}, {"POST", "/profiles", `{"name":"p","roleArns":[]}`},
			{"POST", "/trustanchors", `{"name":"x"}`}, {"POST", "/nosuch", "{}"},
		} {
			w.signedCall(t, c, rolesAnywhereService, r.method, r.path, "", r.body)
		}
	}
	w.stop()

	names := make(map[string]int)
	var all strings.Builder
	for _, kept := range w.server.newestEvents() {
		var e event
		if err := json.Unmarshal(kept.record, &e); err != nil {
			t.Fatal(err)
		}
		names[e.EventName]++
		all.Write(kept.record)
	}
	for _, name := range []string{"CreateSession", "AssumeRole", "GetCallerIdentity", "IssueCertificate", "GetCertificate", "LookupEvents", "ListSubjects", "CreateProfile"} {
		if names[name] < 2 {
			t.Errorf("%d events %s", names[name], name)
		}
	}
	secrets := []string{unknown.SecretAccessKey, unknown.SessionToken}
	for _, s := range w.server.sessions.all() {
		secrets = append(secrets, s.Secret)
		if !s.isAdministrator() {
			secrets = append(secrets, s.Token)
		}
	}
	if len(secrets) < 9 {
		t.Fatalf("only %d secrets", len(secrets))
	}
	for place, text := range map[string]string{"the history": all.String(), "the events": events.String(), "the log": log.String()} {
		for _, secret := range secrets {
			if strings.Contains(text, secret[:16]) {
				t.Errorf("%s has a secret", place)
			}
		}
	}
}
