package emulator

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"testing"
)

// lastEvent returns the newest event.
func (w *testEnv) lastEvent(t testing.TB) (out object) {
	t.Helper()
	events := w.server.newestEvents()
	if len(events) == 0 {
		t.Fatal("no event")
	}
	if err := json.Unmarshal(events[0].record, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// An event has the parameters that a request has, wherever they are in it, and no others.
func TestEventParameters(t *testing.T) {
	w := newTestEnv(t, Config{Roles: []Role{{}, {ARN: otherRole}}, PrivateCA: PrivateCA{}})
	c := issuedCredentials(w.do(t, call{}).session(t))
	id := lastElement(testProfile)
	control := func(c controlCall) func() { return func() { w.control(t, c) } }
	for name, tt := range map[string]struct {
		send func()
		want any
	}{
		"path":              {control(controlCall{operation: "GetProfile", id: id}), object{"profileId": id}},
		"path of no anchor": {control(controlCall{operation: "DeleteTrustAnchor", id: "x"}), object{"trustAnchorId": "x"}},
		"path of a list":    {control(controlCall{operation: "EnableCrl", id: "x"}), object{"crlId": "x"}},
		"path of a subject": {control(controlCall{operation: "GetSubject", id: "x"}), object{"subjectId": "x"}},
		"path and body": {control(controlCall{operation: "UpdateProfile", id: id, body: object{"name": "x", "durationSeconds": nil}}),
			object{"profileId": id, "name": "x"}},
		"path of a session": {control(controlCall{operation: "DisableProfile", id: id, credentials: &c}), object{"profileId": id}},
		"page":              {control(controlCall{operation: "ListProfiles", query: url.Values{"pageSize": {"3"}, "other": {"x"}}}), object{"pageSize": "3"}},
		"no parameters":     {control(controlCall{operation: "ListProfiles"}), nil},
		"tags of":           {control(controlCall{operation: "ListTagsForResource", query: url.Values{"resourceArn": {testProfile}}}), object{"resourceArn": testProfile}},
		"mapping": {control(controlCall{operation: "DeleteAttributeMapping", id: id, query: url.Values{"certificateField": {"x509Subject"}, "specifiers": {"A", "B"}}}),
			object{"profileId": id, "certificateField": "x509Subject", "specifiers": []any{"A", "B"}}},
		"body": {control(controlCall{operation: "TagResource", body: object{"resourceArn": testProfile, "tags": []object{{"key": "k", "value": "v"}}}}),
			object{"resourceArn": testProfile, "tags": []any{map[string]any{"key": "k", "value": "v"}}}},
		"no signature": {control(controlCall{operation: "GetProfile", id: id, after: func(r *http.Request) { r.Header.Del("Authorization") }}), nil},
		"LookupEvents": {func() { w.lookup(t, `{"MaxResults":1,"LookupAttributes":null}`) }, object{"maxResults": 1.0}},
		"GetCertificate": {func() {
			w.signedCall(t, c, privateCAService, http.MethodPost, "/", "ACMPrivateCA.GetCertificate", `{"CertificateArn":"x"}`)
		}, object{"certificateArn": "x"}},
		"IssueCertificate": {func() {
			w.signedCall(t, c, privateCAService, http.MethodPost, "/", "ACMPrivateCA.IssueCertificate", `{"Validity":{"Type":"DAYS"}}`)
		}, object{"validity": map[string]any{"type": "DAYS"}}},
		"AssumeRole": {func() {
			w.sts(t, c, stsCall{body: "Action=AssumeRole&Version=2011-06-15&RoleSessionName=me&RoleArn=" + otherRole})
		}, object{"roleArn": otherRole, "roleSessionName": "me"}},
		"no tag keys": {func() { w.iam(t, "UntagRole", "RoleName", "demo") }, object{"roleName": "demo"}},
	} {
		tt.send()
		got, want := w.lastEvent(t)["requestParameters"], tt.want
		if o, ok := want.(object); ok {
			want = map[string]any(o)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: parameters are %v, want %v", name, got, want)
		}
	}
}

// Events of IAM have the role and the policy of the request, if they exist.
func TestResourcesOfIAM(t *testing.T) {
	w := newControlEnv(t)
	const role, policy, path = "arn:aws:iam::111122223333:role/app", "arn:aws:iam::111122223333:policy/read", "/team/"
	document := `{"Version":"2012-10-17","Statement":[]}`
	resource := func(kind, arn string) any {
		return map[string]any{"accountId": "111122223333", "type": kind, "ARN": arn}
	}
	ofRole, ofPolicy := resource(typeRole, role), resource(typePolicy, policy)
	for _, tt := range []struct {
		action     string
		parameters []string
		want       []any
	}{
		{"GetRole", []string{"RoleName", "app"}, nil},
		{"CreateRole", []string{"RoleName", "app", "AssumeRolePolicyDocument", trustsEverySession}, []any{ofRole}},
		{"CreateRole", []string{"RoleName", "app", "AssumeRolePolicyDocument", trustsEverySession}, []any{ofRole}},
		{"CreateRole", []string{"RoleName", "late", "Path", path, "AssumeRolePolicyDocument", trustsEverySession}, []any{resource(typeRole, "arn:aws:iam::111122223333:role/team/late")}},
		{"CreatePolicy", []string{"PolicyName", "read", "PolicyDocument", document}, []any{ofPolicy}},
		{"AttachRolePolicy", []string{"RoleName", "app", "PolicyArn", policy}, []any{ofRole, ofPolicy}},
		{"GetRole", []string{"RoleName", "app"}, []any{ofRole}},
		{"GetPolicy", []string{"PolicyArn", policy}, []any{ofPolicy}},
		{"UpdateRoleDescription", []string{"RoleName", "app", "Description", "x"}, []any{ofRole}},
		{"DeleteRole", []string{"RoleName", "app"}, []any{ofRole}}, // refused
		{"DetachRolePolicy", []string{"RoleName", "app", "PolicyArn", policy}, []any{ofRole, ofPolicy}},
		{"DeletePolicy", []string{"PolicyArn", policy}, []any{ofPolicy}},
		{"DeleteRole", []string{"RoleName", "app"}, []any{ofRole}},
		{"ListRoles", nil, nil},
	} {
		w.iam(t, tt.action, tt.parameters...)
		e := w.lastEvent(t)
		got, _ := e["resources"].([]any)
		if e["eventName"] != tt.action || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s %q: resources of %s are %v, want %v", tt.action, tt.parameters, e["eventName"], got, tt.want)
		}
	}
	if got := w.lookup(t, `{"LookupAttributes":[{"AttributeKey":"ResourceName","AttributeValue":"`+role+`"}]}`); len(got.Events) != 8 {
		t.Errorf("events of the role are %v", got.names())
	}
}
