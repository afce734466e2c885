package emulator

import (
	"fmt"
	"strings"
	"testing"
)

func TestIAMRefusals(t *testing.T) {
	const (
		create = "CreateRole"
		doc    = "AssumeRolePolicyDocument"
		known  = "arn:aws:iam::111122223333:policy/known"
	)
	w := newTestEnv(t, Config{})
	w.mustIAM(t, create, "RoleName", "app", doc, trustRoot)
	w.mustIAM(t, "CreatePolicy", "PolicyName", "known", "PolicyDocument", permissions)
	var manyTags, manyKeys []string
	for i := range maxTags + 1 {
		manyTags = append(manyTags, fmt.Sprintf("Tags.member.%d.Key", i+1), fmt.Sprint("k", i), fmt.Sprintf("Tags.member.%d.Value", i+1), "v")
		manyKeys = append(manyKeys, fmt.Sprintf("TagKeys.member.%d", i+1), fmt.Sprint("k", i))
	}
	trust := func(change string) []string {
		old, replacement, _ := strings.Cut(change, "|")
		document := strings.Replace(trustRoot, old, replacement, 1)
		if document == trustRoot {
			t.Fatalf("%s changes nothing", change)
		}
		return []string{create, "RoleName", "x", doc, document}
	}
	role := func(more ...string) []string {
		return append([]string{create, "RoleName", "x", doc, trustRoot}, more...)
	}
	const nameRule = "It must contain only alphanumeric characters and/or the following: +=,.@_-"
	const pathRule = "The specified value for path is invalid. It must begin and end with /"
	for _, tt := range []struct {
		name, code, message string
		call                []string
	}{
		{"no such action", codeInvalidAction, "Could not find operation CreateUser for version 2010-05-08", []string{"CreateUser"}},
		{"an action of STS", codeInvalidAction, "Could not find operation AssumeRole for version 2010-05-08", []string{"AssumeRole"}},
		{"no role name", codeSTSValidation, "Value at 'roleName' failed to satisfy constraint: Member must not be null", []string{create, doc, trustRoot}},
		{"empty role name", codeSTSValidation, "The specified value for roleName is invalid. " + nameRule, []string{"GetRole", "RoleName", ""}},
		{"role name with a slash", codeSTSValidation, "roleName is invalid. " + nameRule, []string{create, "RoleName", "a/b", doc, trustRoot}},
		{"role name with a letter outside ASCII", codeSTSValidation, "roleName is invalid. " + nameRule, []string{create, "RoleName", "ä", doc, trustRoot}},
		{"role name that is not UTF-8", codeSTSValidation, "roleName is invalid. " + nameRule, []string{create, "RoleName", "a\xff", doc, trustRoot}},
		{"long role name", codeSTSValidation, "'roleName' failed to satisfy constraint: Member must have length less than or equal to 64", []string{create, "RoleName", strings.Repeat("x", 65), doc, trustRoot}},
		{"role exists", codeIAMExists, "Role with name app already exists.", []string{create, "RoleName", "app", doc, trustRoot}},
		{"role exists in another case and path", codeIAMExists, "Role with name APP already exists.", []string{create, "RoleName", "APP", "Path", "/x/", doc, trustRoot}},
		{"no trust policy", codeSTSValidation, "'assumeRolePolicyDocument' failed to satisfy constraint: Member must not be null", []string{create, "RoleName", "x"}},
		{"empty trust policy", codeSTSValidation, "'assumeRolePolicyDocument' failed to satisfy constraint: Member must have length greater than or equal to 1", []string{create, "RoleName", "x", doc, ""}},
		{"trust policy that is not JSON", codeIAMMalformed, "not a JSON object", []string{create, "RoleName", "x", doc, "file://trust.json"}},
		{"trust policy with another alphabet", codeSTSValidation, "'assumeRolePolicyDocument' failed to satisfy constraint: Member must satisfy regular expression pattern", trust("Allow|Ерлауб")},
		{"long trust policy", codeSTSValidation, "less than or equal to 131072", []string{create, "RoleName", "x", doc, trustRoot + strings.Repeat(" ", maxDocument)}},
		{"trust policy with another effect", codeIAMMalformed, `statement 1: Effect: "Permit" is neither Allow nor Deny`, trust("Allow|Permit")},
		{"trust policy with a typo in the action", codeIAMMalformed, `unknown action "sts:AsumeRole"`, trust("AssumeRole|AsumeRole")},
		{"trust policy with a resource", codeIAMMalformed, "statement 1: Resource: unknown element", trust(`"Effect"|"Resource":"*","Effect"`)},
		{"trust policy without a principal", codeIAMMalformed, "statement 1: no Principal", trust(`"Principal":{"AWS":"arn:aws:iam::111122223333:root"},|`)},
		{"trust policy of another partition", codeIAMMalformed, "is not in partition aws", trust("arn:aws:|arn:aws-cn:")},
		{"trust policy that the emulator cannot evaluate", codeIAMMalformed, "cannot evaluate this trust policy, which AWS may accept: statement 1: ", trust(`"Effect"|"Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}},"Effect"`)},
		{"a trust policy of that kind for a role", codeIAMMalformed, "no Statement", []string{"UpdateAssumeRolePolicy", "RoleName", "app", "PolicyDocument", "{}"}},
		{"path without a slash at the end", codeSTSValidation, pathRule, role("Path", "/team")},
		{"path without a slash at the start", codeSTSValidation, pathRule, role("Path", "team/")},
		{"path with an empty element", codeSTSValidation, pathRule, role("Path", "/team//")},
		{"empty path", codeSTSValidation, pathRule, role("Path", "")},
		{"long path", codeSTSValidation, "'path' failed to satisfy constraint: Member must have length less than or equal to 512", role("Path", "/"+strings.Repeat("x", 511)+"/")},
		{"path prefix", codeSTSValidation, "'pathPrefix' failed to satisfy constraint", []string{"ListRoles", "PathPrefix", "team"}},
		{"long description", codeSTSValidation, "'description' failed to satisfy constraint: Member must have length less than or equal to 1000", role("Description", strings.Repeat("x", 1001))},
		{"description with a control character", codeSTSValidation, "'description' failed to satisfy constraint", role("Description", "\x01")},
		{"no description", codeSTSValidation, "'description' failed to satisfy constraint: Member must not be null", []string{"UpdateRoleDescription", "RoleName", "app"}},
		{"short session", codeSTSValidation, "'maxSessionDuration' failed to satisfy constraint: Member must have value between 3600 and 43200", role("MaxSessionDuration", "3599")},
		{"long session", codeSTSValidation, "'maxSessionDuration'", []string{"UpdateRole", "RoleName", "app", "MaxSessionDuration", "43201"}},
		{"session without a number", codeSTSValidation, "'maxSessionDuration'", role("MaxSessionDuration", "1h")},
		{"permissions boundary", codeSTSValidation, "the emulator does not support PermissionsBoundary", role("PermissionsBoundary", known)},
		{"unknown parameter", codeSTSValidation, "the emulator does not support Foo", role("Foo", "bar")},
		{"parameter of another operation", codeSTSValidation, "the emulator does not support PolicyArn", []string{"GetRole", "RoleName", "app", "PolicyArn", known}},
		{"parameter twice", codeSTSValidation, "RoleName occurs twice", []string{"GetRole", "RoleName", "app", "RoleName", "demo"}},
		{"51 tags", codeSTSValidation, "'tags' failed to satisfy constraint: Member must have length less than or equal to 50", role(manyTags...)},
		{"tag twice", codeIAMInput, msgSTSTagTwice, role("Tags.member.1.Key", "a", "Tags.member.1.Value", "x", "Tags.member.2.Key", "A", "Tags.member.2.Value", "x")},
		{"reserved tag", codeIAMInput, msgSTSTagReserved, role("Tags.member.1.Key", "aws:x", "Tags.member.1.Value", "x")},
		{"tag key", codeSTSValidation, "tags.1.member", role("Tags.member.1.Key", "a#", "Tags.member.1.Value", "x")},
		{"gap in tags", codeSTSValidation, "the members of a list have the numbers 1, 2, … without gaps", role("Tags.member.2.Key", "a", "Tags.member.2.Value", "x")},
		{"no tags", codeSTSValidation, "'tags' failed to satisfy constraint: Member must not be null", []string{"TagRole", "RoleName", "app"}},
		{"no tag keys", codeSTSValidation, "'tagKeys' failed to satisfy constraint: Member must not be null", []string{"UntagRole", "RoleName", "app"}},
		{"51 tag keys", codeSTSValidation, "'tagKeys' failed to satisfy constraint: Member must have length", append([]string{"UntagRole", "RoleName", "app"}, manyKeys...)},
		{"wrong tag key", codeSTSValidation, "'tagKeys.1.member'", []string{"UntagRole", "RoleName", "app", "TagKeys.member.1", "*"}},
		{"gap in tag keys", codeSTSValidation, "does not support TagKeys.member.3; the members", []string{"UntagRole", "RoleName", "app", "TagKeys.member.1", "a", "TagKeys.member.3", "b"}},
		{"no items", codeSTSValidation, "'maxItems' failed to satisfy constraint: Member must have value between 1 and 1000", []string{"ListRoles", "MaxItems", "0"}},
		{"many items", codeSTSValidation, "'maxItems'", []string{"ListRoleTags", "RoleName", "app", "MaxItems", "1001"}},
		{"empty marker", codeSTSValidation, "'marker' failed to satisfy constraint", []string{"ListRoles", "Marker", ""}},
		{"unknown role", codeIAMNotFound, "The role with name none cannot be found.", []string{"GetRole", "RoleName", "none"}},
		{"unknown role to delete", codeIAMNotFound, "The role with name none cannot be found.", []string{"DeleteRole", "RoleName", "none"}},
		{"unknown role to tag", codeIAMNotFound, "The role with name none cannot be found.", []string{"TagRole", "RoleName", "none", "Tags.member.1.Key", "a", "Tags.member.1.Value", ""}},
		{"unknown user", codeIAMNotFound, "The user with name none cannot be found.", []string{"GetUser", "UserName", "none"}},
		{"unknown inline policy", codeIAMNotFound, "The role policy with name none cannot be found.", []string{"GetRolePolicy", "RoleName", "app", "PolicyName", "none"}},
		{"unknown inline policy to delete", codeIAMNotFound, "The role policy with name none cannot be found.", []string{"DeleteRolePolicy", "RoleName", "app", "PolicyName", "none"}},
		{"inline policy that is not JSON", codeIAMMalformed, "not a JSON object", []string{"PutRolePolicy", "RoleName", "app", "PolicyName", "p", "PolicyDocument", "x"}},
		{"inline policy with an unknown element", codeIAMMalformed, `unknown element "Effect"`, []string{"PutRolePolicy", "RoleName", "app", "PolicyName", "p", "PolicyDocument", `{"Statement":[],"Effect":"Allow"}`}},
		{"unknown policy to attach", codeIAMNotFound, "Policy arn:aws:iam::111122223333:policy/none does not exist or is not attachable.", []string{"AttachRolePolicy", "RoleName", "app", "PolicyArn", "arn:aws:iam::111122223333:policy/none"}},
		{"policy of AWS in another partition", codeIAMNotFound, "is not attachable", []string{"AttachRolePolicy", "RoleName", "app", "PolicyArn", "arn:aws-cn:iam::aws:policy/ReadOnlyAccess"}},
		{"policy that is not attached", codeIAMNotFound, "Policy " + known + " was not found.", []string{"DetachRolePolicy", "RoleName", "app", "PolicyArn", known}},
		{"ARN of a role", codeIAMInput, "ARN arn:aws:iam::111122223333:role/app is not valid.", []string{"AttachRolePolicy", "RoleName", "app", "PolicyArn", "arn:aws:iam::111122223333:role/app"}},
		{"ARN with a space", codeIAMInput, "is not valid.", []string{"AttachRolePolicy", "RoleName", "app", "PolicyArn", "arn:aws:iam::aws:policy/Read Only"}},
		{"short ARN", codeSTSValidation, "'policyArn' failed to satisfy constraint: Member must have length between 20 and 2048", []string{"GetPolicy", "PolicyArn", "known"}},
		{"policy exists", codeIAMExists, "A policy called KNOWN already exists. Duplicate names are not allowed.", []string{"CreatePolicy", "PolicyName", "KNOWN", "PolicyDocument", permissions}},
		{"policy without a statement", codeIAMMalformed, "no Statement", []string{"CreatePolicy", "PolicyName", "p", "PolicyDocument", `{"Version":"2012-10-17"}`}},
		{"long policy name", codeSTSValidation, "'policyName' failed to satisfy constraint: Member must have length less than or equal to 128", []string{"CreatePolicy", "PolicyName", strings.Repeat("x", 129), "PolicyDocument", permissions}},
		{"unknown policy", codeIAMNotFound, "Policy arn:aws:iam::aws:policy/ReadOnlyAccess was not found.", []string{"GetPolicy", "PolicyArn", "arn:aws:iam::aws:policy/ReadOnlyAccess"}},
		{"unknown policy to delete", codeIAMNotFound, "was not found.", []string{"DeletePolicy", "PolicyArn", known + "2"}},
		{"unknown version", codeIAMNotFound, "Policy " + known + " version v2 does not exist or is not attachable.", []string{"GetPolicyVersion", "PolicyArn", known, "VersionId", "v2"}},
		{"unknown scope", codeSTSValidation, "'scope' failed to satisfy constraint: Member must satisfy enum value set: [All, AWS, Local]", []string{"ListPolicies", "Scope", "local"}},
		{"usage of policies", codeSTSValidation, "does not support PolicyUsageFilter", []string{"ListPolicies", "PolicyUsageFilter", "PermissionsPolicy"}},
	} {
		got := w.iam(t, tt.call[0], tt.call[1:]...)
		if got.refused.Code != tt.code || !strings.Contains(got.refused.Message, tt.message) || got.refused.Type != "Sender" {
			t.Errorf("%s: %s\nwant %s: %s", tt.name, got.body, tt.code, tt.message)
		}
	}
	if roles := w.mustIAM(t, "ListRoles").values("RoleName"); len(roles) != 2 {
		t.Errorf("roles are %q", roles)
	}
	if got := w.mustIAM(t, "ListAttachedRolePolicies", "RoleName", "app").values("PolicyArn"); got != nil {
		t.Errorf("attached policies are %q", got)
	}
}
