package emulator

import (
	"net/http"
	"testing"
	"time"
)

// A change of a trust policy holds for the next session.
func TestUpdateAssumeRolePolicy(t *testing.T) {
	w := newTestEnv(t, Config{Profiles: []Profile{{RoleARNs: []string{testRole}}}})
	set := func(document string) {
		t.Helper()
		w.mustIAM(t, "UpdateAssumeRolePolicy", "RoleName", "demo", "PolicyDocument", document)
	}
	check := func(name string, roles, administrator bool) {
		t.Helper()
		if got := w.do(t, call{}); (got.status == http.StatusCreated) != roles || !roles && got.code != codeAccessDenied {
			t.Errorf("%s: CreateSession: %d %s: %s", name, got.status, got.code, got.message)
		}
		_, refused := w.assume(t, w.server.Administrator(), "RoleArn="+testRole)
		if (refused.Code == "") != administrator || !administrator && refused.Code != codeSTSDenied {
			t.Errorf("%s: AssumeRole: %s: %s", name, refused.Code, refused.Message)
		}
	}
	check("no policy", true, true)
	set(policyWith(`{}`))
	check("Roles Anywhere", true, false)
	set(policyWith(`{"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"other"}}`))
	check("another certificate", false, false)
	set(trustRoot)
	check("the account", false, true)
	for _, service := range []string{"ec2.amazonaws.com", "lambda.amazonaws.com", "ecs-tasks.amazonaws.com"} {
		set(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + service + `"},"Action":"sts:AssumeRole"}]}`)
		check(service, false, false)
	}
	w.mustIAM(t, "DeleteRole", "RoleName", "demo")
	if got := w.do(t, call{}); got.status != http.StatusNotFound {
		t.Errorf("a deleted role: %d %s: %s", got.status, got.code, got.message)
	}
}

// A role that is created later can be assumed with a profile that already names it.
func TestCreatedRole(t *testing.T) {
	w := newTestEnv(t, Config{})
	w.mustIAM(t, "DeleteRole", "RoleName", "demo")
	w.mustIAM(t, "CreateRole", "RoleName", "demo", "AssumeRolePolicyDocument", policyWith(`{}`))
	id := w.mustIAM(t, "GetRole", "RoleName", "demo").value("RoleId")
	if got := w.do(t, call{}).session(t); got.AssumedRoleUser.ID != id+":0abc" {
		t.Errorf("session of %s, want the role %s", got.AssumedRoleUser.ID, id)
	}
}

func TestAdministratorAssumesRole(t *testing.T) {
	w := newTestEnv(t, Config{})
	administrator := w.server.Administrator()
	if got, err := GetCallerIdentity(t.Context(), nil, w.url, administrator, testNow); err != nil || got.ARN != "arn:aws:iam::111122223333:user/administrator" {
		t.Errorf("%+v, %v", got, err)
	}
	user := func(principal, condition string) string {
		return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"sts:AssumeRole","Condition":` + condition + `}}`
	}
	const own = "arn:aws:iam::111122223333:user/administrator"
	w.mustIAM(t, "CreateRole", "RoleName", "app", "Path", "/team/", "AssumeRolePolicyDocument", trustRoot, "MaxSessionDuration", "7200")
	for _, tt := range []struct {
		name, policy, parameters string
		code                     string // "": allowed
	}{
		{"account", trustRoot, "", ""},
		{"account ID", user("111122223333", `{}`), "", ""},
		{"user", user(own, `{}`), "", ""},
		{"two hours", user(own, `{}`), "DurationSeconds=7200", ""},
		{"more than the role allows", user(own, `{}`), "DurationSeconds=7201", codeSTSValidation},
		{"another user", user("arn:aws:iam::111122223333:user/other", `{}`), "", codeSTSDenied},
		{"another account", user("arn:aws:iam::444455556666:root", `{}`), "", codeSTSDenied},
		{"a role", user("arn:aws:iam::111122223333:role/team/app", `{}`), "", codeSTSDenied},
		{"ARN of the user", user("*", `{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/admin*"}}`), "", ""},
		{"ARN of a role", user("*", `{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/*"}}`), "", codeSTSDenied},
		{"external ID", user(own, `{"StringEquals":{"sts:ExternalId":"e-1"}}`), "ExternalId=e-1", ""},
		{"no external ID", user(own, `{"StringEquals":{"sts:ExternalId":"e-1"}}`), "", codeSTSDenied},
		{"tags without TagSession", trustRoot, "Tags.member.1.Key=a&Tags.member.1.Value=b", codeSTSDenied},
		{"source identity without SetSourceIdentity", trustRoot, "SourceIdentity=me", codeSTSDenied},
	} {
		w.mustIAM(t, "UpdateAssumeRolePolicy", "RoleName", "app", "PolicyDocument", tt.policy)
		out, refused := w.assume(t, administrator, "RoleArn=arn:aws:iam::111122223333:role/team/app&"+tt.parameters)
		if refused.Code != tt.code {
			t.Errorf("%s: %s: %s, want %q", tt.name, refused.Code, refused.Message, tt.code)
			continue
		}
		if tt.code != "" {
			continue
		}
		got, err := GetCallerIdentity(t.Context(), nil, w.url, out.issued(t), testNow)
		if err != nil || got.ARN != "arn:aws:sts::111122223333:assumed-role/app/me" {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
		lifetime := time.Hour
		if tt.name == "two hours" {
			lifetime = 2 * time.Hour
		}
		if expires := out.issued(t).Expires; !expires.Equal(testNow.Add(lifetime)) {
			t.Errorf("%s: expires at %v", tt.name, expires)
		}
	}
}
