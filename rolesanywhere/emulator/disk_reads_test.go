package emulator

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// If an event cannot be stored, a request that only reads is answered, and any other fails
// with the code of its service.
func TestReadsWithoutStorage(t *testing.T) {
	var log, lines bytes.Buffer
	w := newTestEnv(t, Config{State: newFolder(t), Roles: []Role{{}, {ARN: otherRole}}, Logger: slog.New(slog.NewTextHandler(&log, nil)), Events: &lines})
	c := issuedCredentials(w.do(t, call{}).session(t))
	if err := w.server.Close(); err != nil { // as if the disk was full
		t.Fatal(err)
	}
	lines.Reset()
	events := w.server.history.size()
	w.must(t, "ListTrustAnchors", "", nil)
	w.mustIAM(t, "GetRole", "RoleName", "demo")
	if got := w.lookup(t, "{}"); got.Type != "" {
		t.Errorf("LookupEvents: %s", got.Type)
	}
	if _, err := GetCallerIdentity(t.Context(), nil, w.url, c, testNow); err != nil {
		t.Error(err)
	}
	if got := w.do(t, call{body: body("roleArn", testRole+"2")}); got.code != codeNotFound {
		t.Errorf("a refused request: %d %s", got.status, got.code)
	}
	if got := w.do(t, call{}); got.status != http.StatusInternalServerError || got.code != codeInternal {
		t.Errorf("CreateSession: %d %s", got.status, got.code)
	}
	if got := w.iam(t, "DeleteRole", "RoleName", "demo"); got.status != http.StatusInternalServerError || got.value("Code") != codeIAMInternal {
		t.Errorf("DeleteRole: %d %s", got.status, got.body)
	}
	if status, _, got := w.sts(t, c, stsCall{body: "Action=AssumeRole&Version=2011-06-15&RoleSessionName=me&RoleArn=" + otherRole}); status != http.StatusInternalServerError ||
		!strings.Contains(got, "<Code>"+codeSTSInternal+"</Code>") {
		t.Errorf("AssumeRole: %d %s", status, got)
	}
	w.stop()
	if n := len(w.server.sessions.keys); n != 2 || w.server.history.size() != events {
		t.Errorf("%d sessions, %d more events", n, w.server.history.size()-events)
	}
	// Five answers and the refusal of DeleteRole.
	if n := strings.Count(lines.String(), "\n"); n != 6 || strings.Contains(lines.String(), `"credentialSet"`) {
		t.Errorf("%d events are written:\n%s", n, &lines)
	}
	if n := strings.Count(log.String(), "could not store event"); n != 8 {
		t.Errorf("the log has %d failures:\n%s", n, &log)
	}
}
