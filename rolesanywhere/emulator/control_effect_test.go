package emulator

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Each change takes effect for the next CreateSession.
func TestControlEffects(t *testing.T) {
	w := newTestEnv(t, Config{})
	accepted := func(step string) {
		t.Helper()
		if got := w.do(t, call{}); got.status != http.StatusCreated {
			t.Errorf("after %s: %d %s", step, got.status, got.message)
		}
	}
	refused := func(step, message string) {
		t.Helper()
		if got := w.do(t, call{}); got.status < 400 || got.message != message {
			t.Errorf("after %s: %d %q, want %q", step, got.status, got.message, message)
		}
	}
	w.must(t, "DisableTrustAnchor", testAnchor, nil)
	refused("DisableTrustAnchor", fmt.Sprintf(msgAnchorDisabled, testAnchor))
	w.must(t, "EnableTrustAnchor", testAnchor, nil)
	accepted("EnableTrustAnchor")
	w.must(t, "DisableProfile", testProfile, nil)
	refused("DisableProfile", fmt.Sprintf(msgDisabled, testProfile))
	w.must(t, "EnableProfile", testProfile, nil)
	accepted("EnableProfile")

	revoked := fmt.Sprintf(msgRevoked, "0abc", w.ca.cert.Subject)
	list := w.must(t, "ImportCrl", "", w.crlInput(t, testAnchor, "crlData", w.ca.crlPEM(t, 0xabc), "enabled", nil)).object("crl").string("crlId")
	accepted("ImportCrl, disabled")
	w.must(t, "EnableCrl", list, nil)
	refused("EnableCrl", revoked)
	w.must(t, "DisableCrl", list, nil)
	accepted("DisableCrl")
	w.must(t, "EnableCrl", list, nil)
	w.must(t, "UpdateCrl", list, object{"crlData": w.ca.crlPEM(t, 1)})
	accepted("UpdateCrl")
	w.must(t, "UpdateCrl", list, object{"crlData": w.ca.crlPEM(t, 0xabc)})
	refused("UpdateCrl", revoked)
	w.must(t, "DeleteCrl", list, nil)
	accepted("DeleteCrl")

	other := newRoot(t, caTemplate("Other"))
	w.must(t, "UpdateTrustAnchor", testAnchor, object{"source": anchorInput(other.pem())["source"]})
	refused("UpdateTrustAnchor", msgUntrusted)
	w.must(t, "UpdateTrustAnchor", testAnchor, object{"source": w.anchorInput()["source"]})
	accepted("UpdateTrustAnchor")
	w.must(t, "UpdateProfile", testProfile, object{"roleArns": []string{}})
	refused("UpdateProfile", fmt.Sprintf(msgAssume, testRole))
	w.must(t, "UpdateProfile", testProfile, object{"roleArns": []string{testRole}})
	accepted("UpdateProfile")
	w.must(t, "DeleteProfile", testProfile, nil)
	refused("DeleteProfile", fmt.Sprintf(msgNotFound, testProfile))
	w.must(t, "DeleteTrustAnchor", testAnchor, nil)
	refused("DeleteTrustAnchor", fmt.Sprintf(msgNotFound, testAnchor))
}

// CreateSession accepts alias ARNs, and policies see the ARN with the ID.
func TestAliasesOfSessions(t *testing.T) {
	policy := func(arn string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"rolesanywhere.amazonaws.com"},
			"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"],"Condition":{"ArnEquals":{"aws:SourceArn":"` + arn + `"}}}]}`
	}
	anchorAlias := strings.Replace(testAnchor, ":trust-anchor/", ":alias/trust-anchor/", 1)
	anchorAlias = anchorAlias[:strings.LastIndex(anchorAlias, "/")] + "/ca"
	w := newTestEnv(t, Config{Roles: []Role{{TrustPolicy: policy(testAnchor)}}})
	w.must(t, "UpdateTrustAnchor", testAnchor, object{"aliasName": "ca"})
	w.must(t, "UpdateProfile", testProfile, object{"aliasName": "ca"})
	profileAlias := strings.Replace(anchorAlias, "trust-anchor", "profile", 1)
	w.do(t, call{body: body("trustAnchorArn", anchorAlias, "profileArn", profileAlias)}).session(t)
	w.must(t, "UpdateTrustAnchor", anchorAlias, object{"aliasName": "other"})
	if got := w.do(t, call{body: body("trustAnchorArn", anchorAlias)}); got.status != http.StatusNotFound {
		t.Errorf("with the previous alias: %d", got.status)
	}

	w = newTestEnv(t, Config{Roles: []Role{{TrustPolicy: policy(anchorAlias)}}})
	w.must(t, "UpdateTrustAnchor", testAnchor, object{"aliasName": "ca"})
	if got := w.do(t, call{body: body("trustAnchorArn", anchorAlias)}); got.status != http.StatusForbidden {
		t.Errorf("with the alias ARN in the policy: %d", got.status)
	}
}

// A large request or response is not kept in an event.
func TestLargeEvents(t *testing.T) {
	w := newControlEnv(t)
	w.must(t, "CreateProfile", "", profileInputOf("name", "small", "sessionPolicy", `"`+strings.Repeat("x", 100)+`"`))
	w.must(t, "CreateProfile", "", profileInputOf("name", "large", "sessionPolicy", `"`+strings.Repeat("x", maxEvent)+`"`))
	var events []string
	for _, e := range w.server.newestEvents() {
		events = append([]string{string(e.record)}, events...)
	}
	if len(events) != 2 || !strings.Contains(events[0], `"name":"small"`) || strings.Contains(events[0], "omitted") {
		t.Errorf("events are %s", events)
	}
	if last := events[len(events)-1]; len(last) > 2000 || strings.Count(last, `"omitted":true`) != 2 {
		t.Errorf("event is %.3000s", last)
	}
}

func TestRequireInstanceProperties(t *testing.T) {
	w := newTestEnv(t, Config{})
	arn := w.must(t, "CreateProfile", "", profileInputOf("requireInstanceProperties", true)).object("profile").string("profileArn")
	for _, properties := range []any{nil, object{}} {
		checkRefused(t, w.do(t, call{body: body("profileArn", arn, "instanceProperties", properties)}), http.StatusForbidden, codeAccessDenied, fmt.Sprintf(msgProperties, arn))
	}
	w.do(t, call{body: body("profileArn", arn, "instanceProperties", object{"host": "a"})}).session(t)
}
