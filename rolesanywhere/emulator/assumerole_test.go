package emulator

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

const (
	baseRole  = "arn:aws:iam::111122223333:role/base"
	otherRole = "arn:aws:iam::444455556666:role/team/other"
)

// assume calls AssumeRole with parameters, which override the default ones. A
// parameter with the value none is not sent.
func (w *testEnv) assume(t *testing.T, c credentials.Credentials, parameters string) (out assumeRoleResponse, refused errorResponse) {
	t.Helper()
	form := url.Values{"Action": {"AssumeRole"}, "Version": {stsVersion}, "RoleArn": {otherRole}, "RoleSessionName": {"me"}}
	values, err := url.ParseQuery(parameters)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range values {
		if form[k] = v; v[0] == "none" {
			delete(form, k)
		}
	}
	status, _, response := w.sts(t, c, stsCall{body: form.Encode()})
	if status == http.StatusOK {
		err = xml.Unmarshal([]byte(response), &out)
	} else {
		err = xml.Unmarshal([]byte(response), &refused)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, response)
	}
	if refused.Code != "" && statuses.Get(refused.Code) != status {
		t.Errorf("status is %d for %s", status, refused.Code)
	}
	return out, refused
}

// chainPolicy returns a trust policy for the base role.
func chainPolicy(actions, condition string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"%s"},"Action":%s,"Condition":%s}}`, baseRole, actions, condition)
}

const allActions = `["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]`

// newChain returns an emulator with the base role and the other role, which has
// this policy, and credentials of the base role.
func newChain(t *testing.T, policy string, change func(*Config)) (*testEnv, credentials.Credentials) {
	t.Helper()
	cfg := Config{Roles: []Role{{ARN: baseRole}, {ARN: otherRole, TrustPolicy: policy}}}
	if change != nil {
		change(&cfg)
	}
	w := newTestEnv(t, cfg)
	return w, issuedCredentials(w.do(t, call{body: body("roleArn", baseRole)}).session(t))
}

// session returns credentials of the base role that a certificate gets.
func (w *testEnv) session(t *testing.T, of certKey) credentials.Credentials {
	t.Helper()
	return issuedCredentials(w.do(t, call{key: of.key, chain: []*x509.Certificate{of.cert}, body: body("roleArn", baseRole)}).session(t))
}

func (a assumeRoleResponse) issued(t *testing.T) credentials.Credentials {
	t.Helper()
	expires, err := time.Parse(time.RFC3339, a.Credentials.Expiration)
	if err != nil {
		t.Fatal(err)
	}
	return credentials.Credentials{AccessKeyID: a.Credentials.AccessKeyID, SecretAccessKey: a.Credentials.SecretAccessKey,
		SessionToken: a.Credentials.SessionToken, Expires: expires}
}

func TestAssumeRole(t *testing.T) {
	w, base := newChain(t, chainPolicy(allActions, `{}`), nil)
	out, refused := w.assume(t, base, "")
	if refused.Code != "" {
		t.Fatalf("%s: %s", refused.Code, refused.Message)
	}
	user := assumedRoleUser{ARN: "arn:aws:sts::444455556666:assumed-role/other/me", ID: roleID(otherRole) + ":me"}
	if out.User != user || out.SourceIdentity != "CN=client" || out.PackedPolicySize == 0 || out.RequestID == "" {
		t.Errorf("%+v", out)
	}
	c := out.issued(t)
	if !c.Expires.Equal(testNow.Add(time.Hour)) {
		t.Errorf("expires at %v", c.Expires)
	}
	got, err := GetCallerIdentity(t.Context(), nil, w.url, c, testNow)
	if want := (Identity{ARN: user.ARN, UserID: user.ID, Account: "444455556666"}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

func TestAssumeRolePolicies(t *testing.T) {
	const tags = "Tags.member.1.Key=Team&Tags.member.1.Value=blue&"
	assumeOnly := `["sts:AssumeRole","sts:SetSourceIdentity"]`
	for _, tt := range []struct {
		name, policy, parameters string
		denied                   string // action; "": allowed
	}{
		{"no policy", "", tags, ""},
		{"all actions", chainPolicy(allActions, `{}`), tags, ""},
		{"no tags, no TagSession", chainPolicy(assumeOnly, `{}`), "", ""},
		{"no TagSession", chainPolicy(assumeOnly, `{}`), tags, "sts:TagSession"},
		{"no SetSourceIdentity", chainPolicy(`"sts:AssumeRole"`, `{}`), "", "sts:SetSourceIdentity"},
		{"only for Roles Anywhere", policyWith(`{}`), "", "sts:AssumeRole"},
		{"tag of the certificate", chainPolicy(allActions, `{"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"client"}}`), "", ""},
		{"tag of another certificate", chainPolicy(allActions, `{"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"server"}}`), "", "sts:AssumeRole"},
		{"request tag", chainPolicy(allActions, `{"StringEquals":{"aws:RequestTag/Team":"blue"}}`), tags, ""},
		{"other request tag", chainPolicy(allActions, `{"StringEquals":{"aws:RequestTag/Team":"red"}}`), tags, "sts:AssumeRole"},
		{"tag keys", chainPolicy(allActions, `{"ForAllValues:StringEquals":{"aws:TagKeys":["Team"]}}`), tags, ""},
		{"other tag keys", chainPolicy(allActions, `{"ForAllValues:StringEquals":{"aws:TagKeys":["Cost"]}}`), tags, "sts:AssumeRole"},
		{"external ID", chainPolicy(allActions, `{"StringEquals":{"sts:ExternalId":"a:b/c"}}`), "ExternalId=a:b/c", ""},
		{"no external ID", chainPolicy(allActions, `{"StringEquals":{"sts:ExternalId":"a:b/c"}}`), "", "sts:AssumeRole"},
		{"session name", chainPolicy(allActions, `{"StringEquals":{"sts:RoleSessionName":"me"}}`), "", ""},
		{"source identity", chainPolicy(allActions, `{"StringEquals":{"aws:SourceIdentity":"CN=client"}}`), "", ""},
		{"principal", chainPolicy(allActions, `{"ArnEquals":{"aws:PrincipalArn":"`+baseRole+`"},"StringEquals":{"aws:PrincipalAccount":"111122223333"}}`), "", ""},
		{"unknown role", "", "RoleArn=arn:aws:iam::444455556666:role/none", "sts:AssumeRole"},
	} {
		w, base := newChain(t, tt.policy, nil)
		out, refused := w.assume(t, base, tt.parameters)
		if tt.denied == "" {
			if out.Credentials.SessionToken == "" {
				t.Errorf("%s: %s: %s", tt.name, refused.Code, refused.Message)
			}
			continue
		}
		role := otherRole
		if tt.name == "unknown role" {
			role = "arn:aws:iam::444455556666:role/none"
		}
		want := "User: arn:aws:sts::111122223333:assumed-role/base/0abc is not authorized to perform: " + tt.denied + " on resource: " + role
		if refused.Code != codeSTSDenied || refused.Message != want {
			t.Errorf("%s: %s: %s, want %s", tt.name, refused.Code, refused.Message, want)
		}
	}
}

func TestAssumeRoleErrors(t *testing.T) {
	w, base := newChain(t, "", nil)
	manyTags, manyKeys := "", "Tags.member.1.Key=a&Tags.member.1.Value=x&"
	for i := range maxTags + 1 {
		manyKeys += fmt.Sprintf("TransitiveTagKeys.member.%d=a&", i+1)
		manyTags += fmt.Sprintf("Tags.member.%d.Key=k%d&Tags.member.%d.Value=v&", i+1, i, i+1)
	}
	tag := func(key, value string) string {
		return url.Values{"Tags.member.1.Key": {key}, "Tags.member.1.Value": {value}}.Encode()
	}
	for _, tt := range []struct{ name, parameters, code, message string }{
		{"two hours", "DurationSeconds=7200", codeSTSValidation, msgSTSChained},
		{"a second too long", "DurationSeconds=3601", codeSTSValidation, msgSTSChained},
		{"13 hours", "DurationSeconds=46800", codeSTSValidation, "durationSeconds"},
		{"too short", "DurationSeconds=899", codeSTSValidation, "durationSeconds"},
		{"no number", "DurationSeconds=1h", codeSTSValidation, "durationSeconds"},
		{"no role", "RoleArn=none", codeSTSValidation, "is invalid"},
		{"no ARN", "RoleArn=role/x", codeSTSValidation, "role/x is invalid"},
		{"ARN of a user", "RoleArn=arn:aws:iam::111122223333:user/x", codeSTSValidation, "is invalid"},
		{"no session name", "RoleSessionName=none", codeSTSValidation, "roleSessionName"},
		{"short session name", "RoleSessionName=x", codeSTSValidation, "roleSessionName"},
		{"session name with a space", "RoleSessionName=a+b", codeSTSValidation, "roleSessionName"},
		{"external ID", "ExternalId=a b", codeSTSValidation, "externalId"},
		{"short external ID", "ExternalId=/", codeSTSValidation, "externalId"},
		{"source identity", "SourceIdentity=a/b", codeSTSValidation, "sourceIdentity"},
		{"another source identity", "SourceIdentity=CN%3Dserver", codeSTSDenied, msgSTSSource},
		{"51 tags", manyTags, codeSTSValidation, "tags"},
		{"tag key", tag("a#b", "x"), codeSTSValidation, "tags.1.member"},
		{"empty tag key", tag("", "x"), codeSTSValidation, "tags.1.member"},
		{"long tag key", tag(strings.Repeat("x", 129), "x"), codeSTSValidation, "tags.1.member"},
		{"tag value", tag("a", "x*"), codeSTSValidation, "tags.1.member"},
		{"long tag value", tag("a", strings.Repeat("x", 257)), codeSTSValidation, "tags.1.member"},
		{"reserved tag key", tag("AWS:x", "x"), codeSTSParameter, msgSTSTagReserved},
		{"tag twice", "Tags.member.1.Key=a&Tags.member.1.Value=x&Tags.member.2.Key=A&Tags.member.2.Value=x", codeSTSParameter, msgSTSTagTwice},
		{"tag twice, İ", tag("id", "x") + "&Tags.member.2.Key=İD&Tags.member.2.Value=y", codeSTSParameter, msgSTSTagTwice}, // ToLower folds it, EqualFold does not
		{"transitive key", tag("a", "x") + "&TransitiveTagKeys.member.1=b", codeSTSParameter, msgSTSTransitive},
		{"51 transitive keys", manyKeys, codeSTSValidation, "transitiveTagKeys"},
		{"session policy", "Policy={}", codeSTSValidation, "does not support Policy"},
		{"managed session policy", "PolicyArns.member.1.arn=x", codeSTSValidation, "does not support PolicyArns"},
		{"no session policy", "PolicyArns=", codeSTSValidation, "PolicyArns is empty"},
		{"MFA", "SerialNumber=x", codeSTSValidation, "does not support SerialNumber"},
		{"unknown parameter", "Foo=bar", codeSTSValidation, "does not support Foo"},
		{"name in lower case", "externalId=e1", codeSTSValidation, "does not support externalId"},
		{"empty role", "RoleArn=", codeSTSValidation, "RoleArn is empty"},
		{"empty session name", "RoleSessionName=", codeSTSValidation, "RoleSessionName is empty"},
		{"empty duration", "DurationSeconds=", codeSTSValidation, "DurationSeconds is empty"},
		{"empty external ID", "ExternalId=", codeSTSValidation, "ExternalId is empty"},
		{"empty source identity", "SourceIdentity=", codeSTSValidation, "SourceIdentity is empty"},
		{"tag without its predecessor", "Tags.member.2.Key=a&Tags.member.2.Value=x", codeSTSValidation, "does not support Tags.member.2.Key; the members of a list have the numbers 1, 2"},
		{"gap in tags", tag("a", "x") + "&Tags.member.3.Key=b&Tags.member.3.Value=x", codeSTSValidation, "Tags.member.3.Key"},
		{"tag 0", tag("a", "x") + "&Tags.member.0.Key=b", codeSTSValidation, "Tags.member.0.Key"},
		{"number of a tag with a zero", "Tags.member.01.Key=a&Tags.member.01.Value=x", codeSTSValidation, "Tags.member.01.Key"},
		{"number of a tag with a sign", "Tags.member.+1.Value=x", codeSTSValidation, "Tags.member. 1.Value"},
		{"tag without member", "Tags.1.Key=a&Tags.1.Value=x", codeSTSValidation, "Tags.1.Key"},
		{"unknown member of a tag", tag("a", "x") + "&Tags.member.1.Name=b", codeSTSValidation, "Tags.member.1.Name"},
		{"tags as text", "Tags=a", codeSTSValidation, "does not support Tags;"},
		{"transitive key without its predecessor", tag("a", "x") + "&TransitiveTagKeys.member.2=a", codeSTSValidation, "TransitiveTagKeys.member.2"},
		{"empty transitive key", tag("a", "x") + "&TransitiveTagKeys.member.1=&TransitiveTagKeys.member.2=zz", codeSTSValidation, "TransitiveTagKeys.member.1 is empty"},
		{"number of a transitive key with a zero", tag("a", "x") + "&TransitiveTagKeys.member.01=a", codeSTSValidation, "TransitiveTagKeys.member.01"},
		{"transitive key without member", tag("a", "x") + "&TransitiveTagKeys.1=a", codeSTSValidation, "TransitiveTagKeys.1"},
		{"packed size", longTags(8) + "Tags.member.9.Key=a", codeSTSPacked, "Packed size of session tags consumes 101% of allotted space."},
		{"parameter twice", "RoleSessionName=aa&RoleSessionName=bb", codeSTSValidation, "twice"},
	} {
		out, refused := w.assume(t, base, tt.parameters)
		if refused.Code != tt.code || !strings.Contains(refused.Message, tt.message) || out.Credentials.AccessKeyID != "" {
			t.Errorf("%s: %s: %q, want %s: %s", tt.name, refused.Code, refused.Message, tt.code, tt.message)
		}
	}
	for _, parameters := range []string{"Tags=&TransitiveTagKeys=", longTags(8), tag("a", ""), "Tags=&" + tag("a", "x")} {
		if _, refused := w.assume(t, base, parameters); refused.Code != "" {
			t.Errorf("%.40s: %s: %s", parameters, refused.Code, refused.Message)
		}
	}
	if out, refused := w.assume(t, base, "SourceIdentity=CN%3Dclient&DurationSeconds=900"); out.SourceIdentity != "CN=client" {
		t.Errorf("the same source identity: %s: %s", refused.Code, refused.Message)
	}
	wrong := base
	wrong.SecretAccessKey += "x"
	if _, refused := w.assume(t, wrong, ""); refused.Code != codeSignatureNoMatch {
		t.Errorf("a wrong signature: %s: %s", refused.Code, refused.Message)
	}
}

// longTags returns n tags with 256 characters each, all of which are transitive.
func longTags(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "Tags.member.%d.Key=k%d&Tags.member.%d.Value=%s&TransitiveTagKeys.member.%d=k%d&", i+1, i, i+1, strings.Repeat("ü", 254), i+1, i)
	}
	return b.String()
}

// Transitive tags, and the source identity, are passed on along a chain. Other
// tags are not.
func TestTransitiveTags(t *testing.T) {
	const third = "arn:aws:iam::111122223333:role/third"
	policy := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":` + allActions + `,
		"Condition":{"StringEquals":{"aws:PrincipalTag/Team":"blue","aws:SourceIdentity":"CN=client"},
			"StringNotLike":{"aws:PrincipalTag/Stage":"*","aws:PrincipalTag/x509Subject/CN":"*"}}}}`
	w, base := newChain(t, "", func(c *Config) {
		c.Roles = append(c.Roles, Role{ARN: third, TrustPolicy: policy})
	})
	const tags = "Tags.member.1.Key=Team&Tags.member.1.Value=blue&Tags.member.2.Key=Stage&Tags.member.2.Value=prod&TransitiveTagKeys.member.1=team"
	out, refused := w.assume(t, base, tags)
	if refused.Code != "" {
		t.Fatalf("%s: %s", refused.Code, refused.Message)
	}
	// The second session has the tag Stage.
	if _, refused := w.assume(t, out.issued(t), "RoleArn="+third); refused.Code != codeSTSDenied {
		t.Errorf("third role: %s: %s, want %s", refused.Code, refused.Message, codeSTSDenied)
	}
	middle, refused := w.assume(t, out.issued(t), "")
	if refused.Code != "" {
		t.Fatalf("%s: %s", refused.Code, refused.Message)
	}
	last, refused := w.assume(t, middle.issued(t), "RoleArn="+third)
	if refused.Code != "" || last.SourceIdentity != "CN=client" {
		t.Errorf("third role: %s: %s", refused.Code, refused.Message)
	}
	for _, c := range []credentials.Credentials{middle.issued(t), last.issued(t)} {
		if _, refused := w.assume(t, c, "Tags.member.1.Key=TEAM&Tags.member.1.Value=red"); refused.Code != codeSTSParameter || refused.Message != msgSTSTagConflict {
			t.Errorf("%s: %s, want %s", refused.Code, refused.Message, msgSTSTagConflict)
		}
	}
}

// Inherited tags also need sts:TagSession, and space.
func TestInheritedTags(t *testing.T) {
	const third = "arn:aws:iam::111122223333:role/third"
	w, base := newChain(t, "", func(c *Config) {
		c.Roles = append(c.Roles, Role{ARN: third, TrustPolicy: `{"Statement":{"Effect":"Allow","Principal":"*","Action":["sts:AssumeRole","sts:SetSourceIdentity"]}}`})
	})
	out, _ := w.assume(t, base, "Tags.member.1.Key=Team&Tags.member.1.Value=blue&TransitiveTagKeys.member.1=Team")
	if _, refused := w.assume(t, out.issued(t), "RoleArn="+third); refused.Code != codeSTSDenied || !strings.Contains(refused.Message, "sts:TagSession") {
		t.Errorf("%s: %s", refused.Code, refused.Message)
	}
	// They also count for the packed size.
	out, _ = w.assume(t, base, longTags(8))
	if _, refused := w.assume(t, out.issued(t), "Tags.member.1.Key=a"); refused.Code != codeSTSPacked {
		t.Errorf("%s: %s", refused.Code, refused.Message)
	}
}

func TestAssumeRoleEvent(t *testing.T) {
	var events bytes.Buffer
	w, base := newChain(t, "", func(c *Config) { c.Events = &events })
	out, _ := w.assume(t, base, "DurationSeconds=900&ExternalId=e1&Tags.member.1.Key=Team&Tags.member.1.Value=blue&TransitiveTagKeys.member.1=Team")
	if _, refused := w.assume(t, out.issued(t), "DurationSeconds=3601"); refused.Code == "" {
		t.Error("not refused")
	}
	w.stop()
	var all []map[string]any
	for d := json.NewDecoder(bytes.NewReader(events.Bytes())); d.More(); {
		var e map[string]any
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	if len(all) != 4 {
		t.Fatalf("%d events", len(all))
	}
	all = all[2:] // without those of CreateSession
	for name, want := range map[string]any{
		"eventSource": "sts.amazonaws.com", "eventName": "AssumeRole", "readOnly": true,
		"resources": []any{map[string]any{"accountId": strings.Split(otherRole, ":")[4], "type": "AWS::IAM::Role", "ARN": otherRole}},
		"requestParameters": map[string]any{"roleArn": otherRole, "roleSessionName": "me", "durationSeconds": 900.0, "externalId": "e1",
			"principalTags": map[string]any{"Team": "blue"}, "transitiveTagKeys": []any{"Team"}},
		"responseElements": map[string]any{"sourceIdentity": "CN=client",
			"assumedRoleUser": map[string]any{"arn": out.User.ARN, "assumedRoleId": out.User.ID},
			"credentials":     map[string]any{"accessKeyId": out.Credentials.AccessKeyID, "expiration": out.Credentials.Expiration}},
	} {
		if !reflect.DeepEqual(all[0][name], want) {
			t.Errorf("%s is %v, want %v", name, all[0][name], want)
		}
	}
	if all[1]["errorCode"] != codeSTSValidation || all[1]["responseElements"] != nil {
		t.Errorf("event of a refusal: %v", all[1])
	}
	for _, secret := range []string{out.Credentials.SecretAccessKey, out.Credentials.SessionToken} {
		if strings.Contains(events.String(), secret) {
			t.Error("the events contain a secret")
		}
	}
}

// A session of a role that was deleted cannot assume another role, even if there is a new
// role with the name.
func TestAssumeRoleOfDeletedRole(t *testing.T) {
	w, c := newChain(t, chainPolicy(allActions, `{}`), nil)
	for _, step := range []func(){
		func() { w.mustIAM(t, "DeleteRole", "RoleName", "base") },
		func() {
			w.mustIAM(t, "CreateRole", "RoleName", "base", "AssumeRolePolicyDocument", trustsEverySession)
		},
	} {
		step()
		if _, refused := w.assume(t, c, ""); refused.Code != codeSTSDenied {
			t.Errorf("%s: %s", refused.Code, refused.Message)
		}
	}
	renewed := issuedCredentials(w.do(t, call{body: body("roleArn", baseRole)}).session(t))
	if _, refused := w.assume(t, renewed, ""); refused.Code != "" {
		t.Errorf("the new role: %s: %s", refused.Code, refused.Message)
	}
}
