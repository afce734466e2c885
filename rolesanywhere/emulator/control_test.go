package emulator

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Each operation succeeds with an ID, an ARN and an alias ARN, and returns the members of
// the service model.
func TestControlPlane(t *testing.T) {
	w := newControlEnv(t)
	anchor := w.must(t, "CreateTrustAnchor", "", w.anchorInput("aliasName", "ca/one", "tags", []object{{"key": "a", "value": ""}}))["trustAnchor"]
	arn := object(anchor.(map[string]any)).string("trustAnchorArn")
	profile := w.must(t, "CreateProfile", "", profileInputOf("aliasName", "one"))["profile"]
	list := w.must(t, "ImportCrl", "", w.crlInput(t, arn, "aliasName", "one"))["crl"]
	for _, k := range []struct {
		name    string // of the operations
		member  string
		kind    string
		created any
		members []string
	}{
		{"TrustAnchor", "trustAnchor", "trust-anchor", anchor, []string{"crlDpRevocationEnabled", "notificationSettings", "source", "trustAnchorArn", "trustAnchorId"}},
		{"Profile", "profile", "profile", profile, []string{"acceptRoleSessionName", "attributeMappings", "createdBy", "durationSeconds",
			"managedPolicyArns", "profileArn", "profileId", "requireInstanceProperties", "roleArns"}},
		{"Crl", "crl", "crl", list, []string{"crlArn", "crlData", "crlId", "trustAnchorArn"}},
	} {
		created := object(k.created.(map[string]any))
		want := append(k.members, "aliasArn", "aliasName", "createdAt", "enabled", "name", "updatedAt")
		if got := slices.Sorted(maps.Keys(created)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("Create%s: members are %v", k.name, got)
		}
		arn, id := created.string(k.member+"Arn"), created.string(k.member+"Id")
		if want := "arn:aws:rolesanywhere:us-east-1:111122223333:" + k.kind + "/" + id; arn != want || len(id) != 36 {
			t.Errorf("ARN is %s, want %s", arn, want)
		}
		alias := created.string("aliasArn")
		if want := "arn:aws:rolesanywhere:us-east-1:111122223333:alias/" + k.kind + "/" + created.string("aliasName"); alias != want {
			t.Errorf("alias ARN is %s, want %s", alias, want)
		}
		for _, name := range []string{id, arn, alias} {
			if got := w.must(t, "Get"+k.name, name, nil).object(k.member); !reflect.DeepEqual(got, created) {
				t.Errorf("Get%s %s: %v, want %v", k.name, name, got, created)
			}
			for _, enabled := range []bool{false, true} {
				operation := map[bool]string{false: "Disable", true: "Enable"}[enabled] + k.name
				if got := w.must(t, operation, name, nil).object(k.member)["enabled"]; got != enabled {
					t.Errorf("%s %s: enabled is %v", operation, name, got)
				}
			}
			if got := w.must(t, "Update"+k.name, name, object{"name": "changed"}).object(k.member); got.string("name") != "changed" || got.string("aliasArn") != alias || got["previousAliasName"] != nil {
				t.Errorf("Update%s %s: %v", k.name, name, got)
			}
			w.must(t, "Update"+k.name, name, object{"name": created.string("name")})
		}
		if got := w.must(t, "List"+k.name+"s", "", nil).list(k.member + "s"); len(got) != 1 || !reflect.DeepEqual(got[0], created) {
			t.Errorf("List%ss: %v", k.name, got)
		}
		if got := w.must(t, "Delete"+k.name, alias, nil).object(k.member); !reflect.DeepEqual(got, created) {
			t.Errorf("Delete%s: %v", k.name, got)
		}
		for _, operation := range []string{"Get", "Delete", "Update", "Enable", "Disable"} {
			if got := w.control(t, controlCall{operation: operation + k.name, id: id, body: object{}}); got.status != 404 || got.code != codeNotFound {
				t.Errorf("%s%s of a deleted resource: %d %s", operation, k.name, got.status, got.code)
			}
		}
		if got := w.must(t, "List"+k.name+"s", "", nil).list(k.member + "s"); len(got) != 0 {
			t.Errorf("List%ss after the deletion: %v", k.name, got)
		}
	}
}

// An empty list is a list and not null.
func TestEmptyLists(t *testing.T) {
	w := newControlEnv(t)
	for operation, want := range map[string]string{
		"ListTrustAnchors": `{"trustAnchors":[]}`, "ListProfiles": `{"profiles":[]}`, "ListCrls": `{"crls":[]}`, "ListSubjects": `{"subjects":[]}`,
	} {
		if got := w.control(t, controlCall{operation: operation}); got.body != want {
			t.Errorf("%s: %s, want %s", operation, got.body, want)
		}
	}
	w.start(t, Config{}) // a configured profile
	if got := w.must(t, "ListProfiles", "", nil).list("profiles")[0]; !reflect.DeepEqual(got["managedPolicyArns"], []any{}) {
		t.Errorf("managedPolicyArns is %v", got["managedPolicyArns"])
	}
}

func TestUpdates(t *testing.T) {
	w := newControlEnv(t)
	anchor := w.must(t, "CreateTrustAnchor", "", w.anchorInput()).object("trustAnchor")
	other := newRoot(t, caTemplate("Other"))
	changed := w.must(t, "UpdateTrustAnchor", anchor.string("trustAnchorId"), object{
		"crlDpRevocationEnabled": true, "aliasName": "first", "source": anchorInput(other.pem())["source"],
	}).object("trustAnchor")
	if changed["crlDpRevocationEnabled"] != true || changed.string("aliasName") != "first" || changed["previousAliasName"] != nil ||
		changed.object("source").object("sourceData").string("x509CertificateData") != string(other.pem()) {
		t.Errorf("trust anchor is %v", changed)
	}

	profile := w.must(t, "CreateProfile", "", profileInputOf("durationSeconds", 900, "sessionPolicy", "{}")).object("profile").string("profileId")
	policy := "arn:aws:iam::aws:policy/ReadOnlyAccess"
	p := w.must(t, "UpdateProfile", profile, object{
		"durationSeconds": 43200, "acceptRoleSessionName": true, "managedPolicyArns": []string{policy}, "roleArns": []string{}, "sessionPolicy": `{"a":1}`, "name": nil,
	}).object("profile")
	if p["durationSeconds"] != 43200.0 || p["acceptRoleSessionName"] != true || !reflect.DeepEqual(p["managedPolicyArns"], []any{policy}) ||
		!reflect.DeepEqual(p["roleArns"], []any{}) || p.string("sessionPolicy") != `{"a":1}` || p.string("name") != "profile" {
		t.Errorf("profile is %v", p)
	}

	list := w.must(t, "ImportCrl", "", w.crlInput(t, anchor.string("trustAnchorArn"))).object("crl").string("crlId")
	data := w.ca.crlPEM(t, 5)
	c := w.must(t, "UpdateCrl", list, object{"crlData": data}).object("crl")
	if c.string("crlData") != base64.StdEncoding.EncodeToString(data) || c.string("name") != "list" {
		t.Errorf("CRL is %v", c)
	}
}

func TestAliasChanges(t *testing.T) {
	w := newControlEnv(t)
	id := w.must(t, "CreateProfile", "", profileInputOf("aliasName", "one")).object("profile").string("profileId")
	update := func(alias any) object {
		return w.must(t, "UpdateProfile", id, object{"aliasName": alias}).object("profile")
	}
	for _, tt := range []struct{ set, alias, previous any }{
		{"one", "one", nil}, {nil, "one", nil}, {"two", "two", "one"}, {"", nil, "two"}, {"", nil, nil}, {"One", "One", nil},
	} {
		if got := update(tt.set); got["aliasName"] != tt.alias || got["previousAliasName"] != tt.previous {
			t.Errorf("set %v: alias %v, previous %v; want %v, %v", tt.set, got["aliasName"], got["previousAliasName"], tt.alias, tt.previous)
		}
		if got := w.must(t, "GetProfile", id, nil).object("profile"); got["previousAliasName"] != nil {
			t.Errorf("GetProfile returns the previous alias %v", got["previousAliasName"])
		}
	}
	// The alias is free again, is distinguished by case, and is unique per kind only.
	for _, alias := range []string{"one", "two"} {
		w.must(t, "CreateProfile", "", profileInputOf("aliasName", alias))
	}
	w.must(t, "CreateTrustAnchor", "", w.anchorInput("aliasName", "one"))
	if got := w.control(t, controlCall{operation: "CreateProfile", body: profileInputOf("aliasName", "One")}); got.code != codeValidation {
		t.Errorf("an alias twice: %d %s", got.status, got.code)
	}
}

func TestTags(t *testing.T) {
	w := newControlEnv(t)
	arn := w.must(t, "CreateTrustAnchor", "", w.anchorInput("tags", []object{{"key": "b", "value": "1"}, {"key": "a", "value": ""}})).object("trustAnchor").string("trustAnchorArn")
	tags := func() any {
		return w.control(t, controlCall{operation: "ListTagsForResource", query: url.Values{"resourceArn": {arn}}}).out["tags"]
	}
	check := func(want string) {
		t.Helper()
		var got []string
		for _, tag := range (object{"tags": tags()}).list("tags") {
			got = append(got, tag.string("key")+"="+tag.string("value"))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("tags are %v, want %s", got, want)
		}
	}
	check("a= b=1")
	if got := w.must(t, "TagResource", "", object{"resourceArn": arn, "tags": []object{{"key": "c", "value": "3"}, {"key": "a", "value": "x y"}}}); len(got) != 0 {
		t.Errorf("TagResource returns %v", got)
	}
	check("a=x y b=1 c=3")
	if got := w.must(t, "UntagResource", "", object{"resourceArn": arn, "tagKeys": []string{"b", "unknown"}}); len(got) != 0 {
		t.Errorf("UntagResource returns %v", got)
	}
	check("a=x y c=3")
	w.must(t, "UpdateTrustAnchor", arn, object{"name": "other"})
	check("a=x y c=3")
}

func TestNotifications(t *testing.T) {
	w := newControlEnv(t)
	anchor := w.must(t, "CreateTrustAnchor", "", w.anchorInput("notificationSettings", []object{{"event": "CA_CERTIFICATE_EXPIRY", "enabled": false}})).object("trustAnchor")
	byDefault := object{"channel": "ALL", "configuredBy": byService, "enabled": true, "event": "END_ENTITY_CERTIFICATE_EXPIRY", "threshold": 45.0}
	off := object{"channel": "ALL", "configuredBy": DefaultAccount, "enabled": false, "event": "CA_CERTIFICATE_EXPIRY"}
	check := func(o object, want ...object) {
		t.Helper()
		if got := o.list("notificationSettings"); !reflect.DeepEqual(got, want) {
			t.Errorf("settings are %v, want %v", got, want)
		}
	}
	check(anchor, off, byDefault)
	id := anchor.string("trustAnchorId")
	own := object{"channel": "ALL", "configuredBy": DefaultAccount, "enabled": true, "event": "END_ENTITY_CERTIFICATE_EXPIRY", "threshold": 360.0}
	check(w.must(t, "PutNotificationSettings", "", object{"trustAnchorId": id, "notificationSettings": []object{{"event": own["event"], "enabled": true, "threshold": 360, "channel": "ALL"}}}).object("trustAnchor"), off, own)
	check(w.must(t, "ResetNotificationSettings", "", object{"trustAnchorId": anchor.string("trustAnchorArn"), "notificationSettingKeys": []object{{"event": own["event"]}}}).object("trustAnchor"), off, byDefault)
}

// Deleting a trust anchor leaves its CRLs, and a new trust anchor with the same CA does not
// use them.
func TestDeletedAnchor(t *testing.T) {
	w := newControlEnv(t)
	arn := w.must(t, "CreateTrustAnchor", "", w.anchorInput()).object("trustAnchor").string("trustAnchorArn")
	list := w.must(t, "ImportCrl", "", w.crlInput(t, arn, "crlData", w.ca.crlPEM(t, 0xabc))).object("crl").string("crlId")
	w.must(t, "DeleteTrustAnchor", arn, nil)
	if got := w.must(t, "GetCrl", list, nil).object("crl").string("trustAnchorArn"); got != arn {
		t.Errorf("trust anchor of the CRL is %q", got)
	}
	if got := w.control(t, controlCall{operation: "ImportCrl", body: w.crlInput(t, arn)}); got.status != http.StatusNotFound {
		t.Errorf("ImportCrl for a deleted trust anchor: %d %s", got.status, got.message)
	}
	if n := len(w.server.lists(w.must(t, "CreateTrustAnchor", "", w.anchorInput()).object("trustAnchor").string("trustAnchorArn"))); n != 0 {
		t.Errorf("the new trust anchor has %d CRLs", n)
	}
}

// Text beside the certificates, such as a private key that is not recognized as PEM, is
// in no response.
func TestAnchorText(t *testing.T) {
	const text = "text\n  -----BEGIN PRIVATE KEY-----\nAAAA\n  -----END PRIVATE KEY-----\n"
	w := &testEnv{ca: newRoot(t, caTemplate("Root"))}
	certificates := append([]byte(text), w.ca.pem()...)
	w.startEmpty(t, Config{TrustAnchors: []TrustAnchor{{Certificates: certificates, CertificateFiles: []string{write(t, t.TempDir(), "ca.pem", certificates)}}}})
	w.must(t, "CreateTrustAnchor", "", anchorInput(append(certificates, certificates...)))
	want := strings.Repeat(string(w.ca.pem()), 2)
	for _, a := range w.must(t, "ListTrustAnchors", "", nil).list("trustAnchors") {
		if got := a.object("source").object("sourceData").string("x509CertificateData"); got != want {
			t.Errorf("the certificates are %s, want %s", got, want)
		}
	}
}
