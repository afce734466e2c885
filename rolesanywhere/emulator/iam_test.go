package emulator

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4"
)

// trustRoot lets the administrator assume a role.
const trustRoot = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"sts:AssumeRole"}}`

// permissions is a policy that no one evaluates.
const permissions = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::a b/*"}]}`

// An iamAnswer is a response of IAM.
type iamAnswer struct {
	status  int
	body    string
	refused errorResponse
}

// iam calls an operation as the administrator. parameters are names and values; a name
// may occur twice.
func (w *testEnv) iam(t testing.TB, action string, parameters ...string) iamAnswer {
	t.Helper()
	form := url.Values{"Action": {action}, "Version": {iamVersion}}
	for i := 0; i < len(parameters); i += 2 {
		form.Add(parameters[i], parameters[i+1])
	}
	body := []byte(form.Encode())
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if err := sigv4.Sign(r, body, w.server.Administrator(), iamService, DefaultRegion, testNow); err != nil {
		t.Fatal(err)
	}
	status, _, b := send(t, r)
	a := iamAnswer{status: status, body: string(b)}
	if a.status != http.StatusOK {
		if err := xml.Unmarshal(b, &a.refused); err != nil || a.refused.XMLName.Space != iamNamespace {
			t.Fatalf("%v: %s", err, b)
		}
		if a.refused.RequestID == "" || statuses.Get(a.refused.Code) != a.status {
			t.Errorf("status is %d: %s", a.status, b)
		}
	}
	return a
}

// mustIAM calls an operation that must succeed.
func (w *testEnv) mustIAM(t testing.TB, action string, parameters ...string) iamAnswer {
	t.Helper()
	a := w.iam(t, action, parameters...)
	if a.status != http.StatusOK {
		t.Fatalf("%s %.100q: %s", action, parameters, a.body)
	}
	return a
}

// values returns the contents of all elements with a name.
func (a iamAnswer) values(element string) (all []string) {
	for _, m := range regexp.MustCompile("<"+element+">([^<]*)</"+element+">").FindAllStringSubmatch(a.body, -1) {
		all = append(all, m[1])
	}
	return all
}

// value returns the content of the first element with a name, or "".
func (a iamAnswer) value(element string) string {
	return append(a.values(element), "")[0]
}

func TestRoleResponses(t *testing.T) {
	w := newTestEnv(t, Config{})
	created := w.mustIAM(t, "CreateRole", "RoleName", "app", "Path", "/team/", "AssumeRolePolicyDocument", trustRoot, "Description", "a <role>",
		"MaxSessionDuration", "7200", "Tags.member.1.Key", "Team", "Tags.member.1.Value", "blue", "Tags.member.2.Key", "Cost center", "Tags.member.2.Value", "")
	id := created.value("RoleId")
	if !regexp.MustCompile(`^AROA[A-Z2-7]{17}$`).MatchString(id) {
		t.Errorf("role ID is %q", id)
	}
	document := strings.ReplaceAll(url.PathEscape(trustRoot), ":", "%3A") // the only reserved character that PathEscape leaves
	head := `<Path>/team/</Path><RoleName>app</RoleName><RoleId>` + id + `</RoleId><Arn>arn:aws:iam::111122223333:role/team/app</Arn>` +
		`<CreateDate>2031-02-03T04:05:06Z</CreateDate><AssumeRolePolicyDocument>` + document + `</AssumeRolePolicyDocument>` +
		`<Description>a &lt;role&gt;</Description><MaxSessionDuration>7200</MaxSessionDuration>`
	tags := `<Tags><member><Key>Cost center</Key><Value></Value></member><member><Key>Team</Key><Value>blue</Value></member></Tags>`
	for _, tt := range []struct{ action, result string }{
		{"GetRole", `<Role>` + head + tags + `</Role>`},
		{"ListRoles", `<Roles><member>` + head + `</member></Roles><IsTruncated>false</IsTruncated>`},
		{"ListRoleTags", tags + `<IsTruncated>false</IsTruncated>`},
		{"ListRolePolicies", `<PolicyNames></PolicyNames><IsTruncated>false</IsTruncated>`},
		{"ListAttachedRolePolicies", `<AttachedPolicies></AttachedPolicies><IsTruncated>false</IsTruncated>`},
		{"ListInstanceProfilesForRole", `<InstanceProfiles></InstanceProfiles><IsTruncated>false</IsTruncated>`},
		{"ListAccountAliases", `<AccountAliases></AccountAliases><IsTruncated>false</IsTruncated>`},
		{"UpdateRole", ``},
		{"GetUser", `<User><Path>/</Path><UserName>administrator</UserName><UserId>` + w.server.admin.User.ID + `</UserId>` +
			`<Arn>arn:aws:iam::111122223333:user/administrator</Arn><CreateDate>2031-02-03T04:05:06Z</CreateDate></User>`},
	} {
		parameters := []string{"RoleName", "APP"} // the case of names does not matter
		switch tt.action {
		case "ListRoles":
			parameters = []string{"PathPrefix", "/te"}
		case "GetUser", "ListAccountAliases":
			parameters = nil
		}
		got := w.mustIAM(t, tt.action, parameters...)
		want := `<` + tt.action + `Response xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><` + tt.action + `Result>` + tt.result + `</` + tt.action + `Result>` +
			`<ResponseMetadata><RequestId>` + got.value("RequestId") + `</RequestId></ResponseMetadata></` + tt.action + `Response>`
		if got.body != want {
			t.Errorf("%s: %s\nwant %s", tt.action, got.body, want)
		}
	}
	// The update had no duration, and so sets the default.
	if got := w.mustIAM(t, "GetRole", "RoleName", "app").value("MaxSessionDuration"); got != "3600" {
		t.Errorf("maximum duration is %s", got)
	}
	got := w.mustIAM(t, "DeleteRole", "RoleName", "app")
	if !strings.HasPrefix(got.body, `<DeleteRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ResponseMetadata>`) {
		t.Error(got.body)
	}
	if got := w.iam(t, "GetRole", "RoleName", "app"); got.refused.Code != codeIAMNotFound {
		t.Errorf("the deleted role: %s", got.body)
	}
}

// A configured role that trusts every session has a trust policy that says so.
func TestConfiguredRole(t *testing.T) {
	w := newTestEnv(t, Config{Roles: []Role{{}, {ARN: otherRole}}})
	document, err := url.PathUnescape(w.mustIAM(t, "GetRole", "RoleName", "demo").value("AssumeRolePolicyDocument"))
	if err != nil || document != trustsEverySession {
		t.Errorf("%v: %s", err, document)
	}
	w.mustIAM(t, "UpdateAssumeRolePolicy", "RoleName", "demo", "PolicyDocument", document)
	w.do(t, call{}).session(t)
	if got := w.mustIAM(t, "ListRoles").values("RoleName"); !slices.Equal(got, []string{"demo"}) {
		t.Errorf("roles are %q, want only that of the account", got)
	}
}

func TestUpdateRole(t *testing.T) {
	w := newTestEnv(t, Config{})
	w.mustIAM(t, "CreateRole", "RoleName", "app", "AssumeRolePolicyDocument", trustRoot)
	w.mustIAM(t, "UpdateRole", "RoleName", "app", "Description", "first", "MaxSessionDuration", "43200")
	w.mustIAM(t, "UpdateRole", "RoleName", "app", "MaxSessionDuration", "7200")
	got := w.mustIAM(t, "GetRole", "RoleName", "app")
	if got.value("Description") != "first" || got.value("MaxSessionDuration") != "7200" {
		t.Error(got.body)
	}
	if got := w.mustIAM(t, "UpdateRoleDescription", "RoleName", "app", "Description", "second"); got.value("Description") != "second" {
		t.Error(got.body)
	}
	if got := w.mustIAM(t, "UpdateRoleDescription", "RoleName", "app", "Description", ""); strings.Contains(got.body, "<Description>") {
		t.Error(got.body)
	}

	w.mustIAM(t, "TagRole", "RoleName", "app", "Tags.member.1.Key", "Team", "Tags.member.1.Value", "blue", "Tags.member.2.Key", "Stage", "Tags.member.2.Value", "prod")
	w.mustIAM(t, "TagRole", "RoleName", "app", "Tags.member.1.Key", "team", "Tags.member.1.Value", "red")
	got = w.mustIAM(t, "ListRoleTags", "RoleName", "app", "MaxItems", "1")
	if got.value("Key") != "Stage" || got.value("IsTruncated") != "true" {
		t.Error(got.body)
	}
	got = w.mustIAM(t, "ListRoleTags", "RoleName", "app", "Marker", got.value("Marker"))
	if !slices.Equal(got.values("Key"), []string{"team"}) || got.value("Value") != "red" || got.value("IsTruncated") != "false" {
		t.Error(got.body)
	}
	w.mustIAM(t, "UntagRole", "RoleName", "app", "TagKeys.member.1", "TEAM", "TagKeys.member.2", "none")
	if got := w.mustIAM(t, "ListRoleTags", "RoleName", "app").values("Key"); !slices.Equal(got, []string{"Stage"}) {
		t.Errorf("tags are %q", got)
	}
}

// Pages contain each role once that exists all the time, though other roles come and go.
func TestListRolesByPages(t *testing.T) {
	w := newTestEnv(t, Config{})
	create := func(path, name string) {
		t.Helper()
		w.mustIAM(t, "CreateRole", "RoleName", name, "Path", path, "AssumeRolePolicyDocument", trustRoot)
	}
	var stay []string
	for i := range 10 {
		name := fmt.Sprintf("stay%d", i)
		stay = append(stay, name)
		create("/p/", name)
		create("/p/q/", fmt.Sprintf("go%d", i))
	}
	create("/other/", "elsewhere")
	seen := make(map[string]int)
	marker, pages := "", 0
	for {
		parameters := []string{"PathPrefix", "/p/", "MaxItems", "3"}
		if marker != "" {
			parameters = append(parameters, "Marker", marker)
		}
		got := w.mustIAM(t, "ListRoles", parameters...)
		names := got.values("RoleName")
		if len(names) > 3 {
			t.Errorf("a page has %d roles", len(names))
		}
		for _, name := range names {
			seen[name]++
		}
		marker = got.value("Marker")
		if (marker != "") != (got.value("IsTruncated") == "true") {
			t.Errorf("marker %q: %s", marker, got.body)
		}
		if marker == "" {
			break
		}
		if pages < 10 {
			w.mustIAM(t, "DeleteRole", "RoleName", fmt.Sprintf("go%d", pages))
		}
		if pages < 5 {
			create("/p/", fmt.Sprintf("new%d", pages))
		}
		pages++
	}
	for name, n := range seen {
		if n > 1 {
			t.Errorf("%s occurs %d times", name, n)
		}
	}
	for _, name := range append(stay, "new0", "new4") {
		if seen[name] != 1 {
			t.Errorf("%s occurs %d times", name, seen[name])
		}
	}
	if seen["elsewhere"] != 0 || seen["demo"] != 0 {
		t.Error("a role with another path is listed")
	}

	marker = w.mustIAM(t, "ListRoles", "MaxItems", "2").value("Marker")
	for name, altered := range map[string]string{
		"number": "9" + marker[1:], "signature": marker[:len(marker)-1] + "x", "text": "x", "no signature": strings.SplitN(marker, ".", 2)[0],
	} {
		if got := w.iam(t, "ListRoles", "Marker", altered); got.refused.Code != codeSTSValidation || got.refused.Message != msgToken {
			t.Errorf("%s: %s", name, got.body)
		}
	}
	if got := w.iam(t, "ListPolicies", "Marker", marker); got.refused.Message != msgToken {
		t.Errorf("the marker of another list: %s", got.body)
	}
}

func TestIAMOnlyForAdministrator(t *testing.T) {
	w := newTestEnv(t, Config{})
	c := issuedCredentials(w.do(t, call{}).session(t))
	status, _, body := w.sts(t, c, stsCall{body: "Action=ListRoles&Version=" + iamVersion, auth: func(a *authorization) { a.service = iamService }})
	if status != http.StatusForbidden || !strings.Contains(body, "is not authorized to perform: iam:ListRoles") {
		t.Errorf("%d %s", status, body)
	}
	status, _, body = w.sts(t, w.server.Administrator(), stsCall{body: "Action=ListRoles&Version=" + iamVersion})
	if status != http.StatusForbidden || !strings.Contains(body, codeSignatureNoMatch) {
		t.Errorf("signed for STS: %d %s", status, body)
	}
}

func TestIAMEvents(t *testing.T) {
	var events bytes.Buffer
	w := newTestEnv(t, Config{Events: &events})
	w.mustIAM(t, "CreateRole", "RoleName", "app", "AssumeRolePolicyDocument", trustRoot+strings.Repeat(" ", maxLogged), "Tags.member.1.Key", "Team", "Tags.member.1.Value", "blue")
	w.mustIAM(t, "GetRole", "RoleName", "app")
	w.mustIAM(t, "DeleteRole", "RoleName", "app")
	w.iam(t, "DeleteRole", "RoleName", "app")
	w.stop()
	var all []map[string]any
	for d := json.NewDecoder(&events); d.More(); {
		var e map[string]any
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	if len(all) != 4 {
		t.Fatalf("%d events", len(all))
	}
	for i, name := range []string{"CreateRole", "GetRole", "DeleteRole", "DeleteRole"} {
		user, _ := all[i]["userIdentity"].(map[string]any)
		if all[i]["eventName"] != name || all[i]["eventSource"] != sourceIAM || user["type"] != "IAMUser" {
			t.Errorf("event %d is %v", i, all[i])
		}
		parameters, _ := all[i]["requestParameters"].(map[string]any)
		if parameters["roleName"] != "app" {
			t.Errorf("parameters of %s are %v", name, parameters)
		}
	}
	created := all[0]["requestParameters"].(map[string]any)
	if document, _ := created["assumeRolePolicyDocument"].(string); len(document) > maxLogged+len("…") || !strings.HasPrefix(trustRoot, document[:100]) {
		t.Errorf("document is %q", document)
	}
	if !reflect.DeepEqual(created["tags"], map[string]any{"Team": "blue"}) {
		t.Errorf("tags are %v", created["tags"])
	}
	role, _ := all[0]["responseElements"].(map[string]any)
	if role, _ := role["role"].(map[string]any); role["arn"] != "arn:aws:iam::111122223333:role/app" || role["createDate"] != "2031-02-03T04:05:06Z" {
		t.Errorf("created role is %v", role)
	}
	if all[1]["responseElements"] != nil || all[2]["responseElements"] != nil || all[3]["errorCode"] != codeIAMNotFound {
		t.Errorf("%v\n%v\n%v", all[1], all[2], all[3])
	}
}

// Roles and policies outlive the emulator if it has a state folder.
func TestIAMState(t *testing.T) {
	cfg := Config{State: newFolder(t)}
	w := newTestEnv(t, cfg)
	w.mustIAM(t, "CreateRole", "RoleName", "app", "AssumeRolePolicyDocument", policyWith(`{}`), "MaxSessionDuration", "7200", "Tags.member.1.Key", "Team", "Tags.member.1.Value", "blue")
	w.mustIAM(t, "CreatePolicy", "PolicyName", "read", "PolicyDocument", permissions, "Description", "d")
	w.mustIAM(t, "AttachRolePolicy", "RoleName", "app", "PolicyArn", "arn:aws:iam::111122223333:policy/read")
	w.mustIAM(t, "PutRolePolicy", "RoleName", "app", "PolicyName", "inline", "PolicyDocument", permissions)
	reads := [][]string{
		{"GetRole", "RoleName", "app"},
		{"GetPolicy", "PolicyArn", "arn:aws:iam::111122223333:policy/read"},
		{"GetPolicyVersion", "PolicyArn", "arn:aws:iam::111122223333:policy/read", "VersionId", "v1"},
		{"ListAttachedRolePolicies", "RoleName", "app"},
		{"GetRolePolicy", "RoleName", "app", "PolicyName", "inline"},
	}
	result := func(read []string) string {
		t.Helper()
		before, _, _ := strings.Cut(w.mustIAM(t, read[0], read[1:]...).body, "<ResponseMetadata>")
		return before
	}
	var before []string
	for _, read := range reads {
		before = append(before, result(read))
	}
	w.stop()
	if err := w.server.Close(); err != nil {
		t.Fatal(err)
	}
	w.start(t, cfg)
	defer w.server.Close()
	for i, read := range reads {
		if got := result(read); got != before[i] {
			t.Errorf("%s: %s\nbefore: %s", read[0], got, before[i])
		}
	}
	if role, _ := w.server.roleByName(DefaultAccount, "app"); role == nil || role.policy == nil {
		t.Error("the restored role has no trust policy")
	}
}
