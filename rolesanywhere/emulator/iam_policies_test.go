package emulator

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

const readPolicyARN = "arn:aws:iam::111122223333:policy/team/read"

func TestRolePolicies(t *testing.T) {
	const ofAWS = "arn:aws:iam::aws:policy/service-role/Reader"
	w := newTestEnv(t, Config{})
	w.mustIAM(t, "CreateRole", "RoleName", "app", "AssumeRolePolicyDocument", trustRoot)
	w.mustIAM(t, "CreatePolicy", "PolicyName", "read", "Path", "/team/", "PolicyDocument", permissions)
	for _, arn := range []string{readPolicyARN, ofAWS, readPolicyARN} { // again is no error
		w.mustIAM(t, "AttachRolePolicy", "RoleName", "app", "PolicyArn", arn)
	}
	got := w.mustIAM(t, "ListAttachedRolePolicies", "RoleName", "app")
	if !slices.Equal(got.values("PolicyArn"), []string{readPolicyARN, ofAWS}) || !slices.Equal(got.values("PolicyName"), []string{"read", "Reader"}) {
		t.Error(got.body)
	}
	if got := w.mustIAM(t, "ListAttachedRolePolicies", "RoleName", "app", "PathPrefix", "/service-role/"); !slices.Equal(got.values("PolicyArn"), []string{ofAWS}) {
		t.Error(got.body)
	}
	w.mustIAM(t, "PutRolePolicy", "RoleName", "app", "PolicyName", "inline", "PolicyDocument", `{"Statement":[]}`)
	w.mustIAM(t, "PutRolePolicy", "RoleName", "app", "PolicyName", "inline", "PolicyDocument", permissions) // replaces it
	got = w.mustIAM(t, "GetRolePolicy", "RoleName", "app", "PolicyName", "inline")
	if document, err := url.PathUnescape(got.value("PolicyDocument")); err != nil || document != permissions || strings.ContainsAny(got.value("PolicyDocument"), " +:{") {
		t.Errorf("%v: %s", err, got.body)
	}
	if got := w.mustIAM(t, "ListRolePolicies", "RoleName", "app"); !strings.Contains(got.body, "<PolicyNames><member>inline</member></PolicyNames>") {
		t.Error(got.body)
	}

	for _, step := range []struct {
		message string // of DeleteRole
		action  []string
	}{
		{msgIAMAttached, []string{"DetachRolePolicy", "RoleName", "app", "PolicyArn", ofAWS}},
		{msgIAMAttached, []string{"DetachRolePolicy", "RoleName", "app", "PolicyArn", readPolicyARN}},
		{msgIAMHasInline, []string{"DeleteRolePolicy", "RoleName", "app", "PolicyName", "inline"}},
	} {
		if got := w.iam(t, "DeleteRole", "RoleName", "app"); got.refused.Code != codeIAMConflict || got.refused.Message != step.message {
			t.Errorf("%s, want %s", got.body, step.message)
		}
		w.mustIAM(t, step.action[0], step.action[1:]...)
	}
	w.mustIAM(t, "DeleteRole", "RoleName", "app")
}

// White space does not count for the quota, but it needs memory.
func TestPaddedPolicy(t *testing.T) {
	w := newTestEnv(t, Config{})
	create := func(spaces int) iamAnswer {
		return w.iam(t, "CreatePolicy", "PolicyName", "read", "PolicyDocument", permissions+strings.Repeat(" ", spaces))
	}
	limit := maxPadding*maxManagedSize - len(permissions)
	if got := create(limit + 1); got.refused.Code != codeIAMLimit || !strings.Contains(got.refused.Message, "remove white space") {
		t.Error(got.body)
	}
	if got := create(limit); got.refused.Code != "" {
		t.Error(got.body)
	}
}

func TestManagedPolicies(t *testing.T) {
	w := newTestEnv(t, Config{})
	w.mustIAM(t, "CreateRole", "RoleName", "app", "AssumeRolePolicyDocument", trustRoot)
	created := w.mustIAM(t, "CreatePolicy", "PolicyName", "read", "Path", "/team/", "PolicyDocument", permissions, "Description", "d", "Tags.member.1.Key", "k", "Tags.member.1.Value", "v")
	want := `<Policy><PolicyName>read</PolicyName><PolicyId>` + created.value("PolicyId") + `</PolicyId><Arn>` + readPolicyARN + `</Arn><Path>/team/</Path>` +
		`<DefaultVersionId>v1</DefaultVersionId><AttachmentCount>%d</AttachmentCount><PermissionsBoundaryUsageCount>0</PermissionsBoundaryUsageCount><IsAttachable>true</IsAttachable>` +
		`<Description>d</Description><CreateDate>2031-02-03T04:05:06Z</CreateDate><UpdateDate>2031-02-03T04:05:06Z</UpdateDate><Tags><member><Key>k</Key><Value>v</Value></member></Tags></Policy>`
	if !strings.HasPrefix(created.value("PolicyId"), "ANPA") || !strings.Contains(created.body, fmt.Sprintf(want, 0)) {
		t.Error(created.body)
	}
	w.mustIAM(t, "CreatePolicy", "PolicyName", "unused", "PolicyDocument", permissions)
	w.mustIAM(t, "AttachRolePolicy", "RoleName", "app", "PolicyArn", readPolicyARN)
	if got := w.mustIAM(t, "GetPolicy", "PolicyArn", readPolicyARN); !strings.Contains(got.body, fmt.Sprintf(want, 1)) {
		t.Error(got.body)
	}
	got := w.mustIAM(t, "GetPolicyVersion", "PolicyArn", readPolicyARN, "VersionId", "v1")
	if document, err := url.PathUnescape(got.value("Document")); err != nil || document != permissions || got.value("IsDefaultVersion") != "true" {
		t.Error(got.body)
	}
	got = w.mustIAM(t, "ListPolicyVersions", "PolicyArn", readPolicyARN)
	if !slices.Equal(got.values("VersionId"), []string{"v1"}) || strings.Contains(got.body, "Document") {
		t.Error(got.body)
	}
	for _, tt := range []struct {
		parameters string
		want       []string
	}{
		{"", []string{"read", "unused"}},
		{"Scope=All", []string{"read", "unused"}},
		{"Scope=Local&OnlyAttached=false", []string{"read", "unused"}},
		{"Scope=AWS", nil},
		{"OnlyAttached=true", []string{"read"}},
		{"PathPrefix=/team/", []string{"read"}},
		{"MaxItems=1", []string{"read"}},
	} {
		var parameters []string
		values, _ := url.ParseQuery(tt.parameters)
		for name := range values {
			parameters = append(parameters, name, values.Get(name))
		}
		if got := w.mustIAM(t, "ListPolicies", parameters...); !slices.Equal(got.values("PolicyName"), tt.want) {
			t.Errorf("%s: %s", tt.parameters, got.body)
		}
	}

	if got := w.iam(t, "DeletePolicy", "PolicyArn", readPolicyARN); got.refused.Code != codeIAMConflict || got.refused.Message != msgIAMPolicyAttached {
		t.Error(got.body)
	}
	w.mustIAM(t, "DetachRolePolicy", "RoleName", "app", "PolicyArn", readPolicyARN)
	w.mustIAM(t, "DeletePolicy", "PolicyArn", readPolicyARN)
	if got := w.iam(t, "AttachRolePolicy", "RoleName", "app", "PolicyArn", readPolicyARN); got.refused.Code != codeIAMNotFound {
		t.Errorf("a deleted policy: %s", got.body)
	}
}

func TestIAMQuotas(t *testing.T) {
	w := newTestEnv(t, Config{})
	err := w.server.change(func(c *changes) error {
		for i := range maxRoles - 2 { // and the default one
			r := &role{ARN: fmt.Sprintf("arn:aws:iam::111122223333:role/r%d", i)}
			if err := r.parse(); err != nil {
				return err
			}
			w.server.roles.put(c, r.ARN, r)
		}
		for i := range maxPolicies - 1 {
			p := &managedPolicy{ARN: fmt.Sprintf("arn:aws:iam::111122223333:policy/p%d", i)}
			w.server.policies.put(c, p.ARN, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.mustIAM(t, "CreateRole", "RoleName", "app", "AssumeRolePolicyDocument", trustRoot)
	w.mustIAM(t, "CreatePolicy", "PolicyName", "read", "PolicyDocument", permissions)
	for i := range maxAttached {
		w.mustIAM(t, "AttachRolePolicy", "RoleName", "app", "PolicyArn", fmt.Sprintf("arn:aws:iam::aws:policy/P%d", i))
	}
	for i := range maxTags {
		w.mustIAM(t, "TagRole", "RoleName", "app", "Tags.member.1.Key", fmt.Sprint("k", i), "Tags.member.1.Value", "v")
	}
	document := func(n int) string { // of n characters, and white space
		return `{"Statement":"` + strings.Repeat("x", n-len(`{"Statement":""}`)) + `"  }` + "\n"
	}
	w.mustIAM(t, "PutRolePolicy", "RoleName", "app", "PolicyName", "a", "PolicyDocument", document(maxInlineSize-100))
	w.mustIAM(t, "PutRolePolicy", "RoleName", "app", "PolicyName", "b", "PolicyDocument", document(100))
	for _, tt := range []struct {
		message string
		action  []string
	}{
		{"Cannot exceed quota for RolesPerAccount: 1000", []string{"CreateRole", "RoleName", "one", "AssumeRolePolicyDocument", trustRoot}},
		{"Cannot exceed quota for PoliciesPerAccount: 1500", []string{"CreatePolicy", "PolicyName", "one", "PolicyDocument", permissions}},
		{"Cannot exceed quota for PoliciesPerRole: 10", []string{"AttachRolePolicy", "RoleName", "app", "PolicyArn", "arn:aws:iam::aws:policy/One"}},
		{"A resource has at most 50 tags", []string{"TagRole", "RoleName", "app", "Tags.member.1.Key", "one", "Tags.member.1.Value", "v"}},
		{"Maximum policy size of 10240 bytes exceeded for role app", []string{"PutRolePolicy", "RoleName", "app", "PolicyName", "b", "PolicyDocument", document(101)}},
		{"Cannot exceed quota for PolicySize: 6144", []string{"CreatePolicy", "PolicyName", "one", "PolicyDocument", document(6145)}},
		{"Cannot exceed quota for ACLSizePerRole: 2048", []string{"UpdateAssumeRolePolicy", "RoleName", "app", "PolicyDocument", document(2049)}},
	} {
		if got := w.iam(t, tt.action[0], tt.action[1:]...); got.refused.Code != codeIAMLimit || got.refused.Message != tt.message {
			t.Errorf("%s, want %s", got.body, tt.message)
		}
	}
	padded := func(document string, quota int) string { return document + strings.Repeat(" ", maxPadding*quota) }
	for _, action := range [][]string{
		{"PutRolePolicy", "RoleName", "app", "PolicyName", "b", "PolicyDocument", padded(document(100), maxInlineSize)},
		{"UpdateAssumeRolePolicy", "RoleName", "app", "PolicyDocument", padded(trustRoot, maxTrustSize)},
	} {
		if got := w.iam(t, action[0], action[1:]...); got.refused.Code != codeIAMLimit || !strings.Contains(got.refused.Message, "remove white space") {
			t.Errorf("%s: %s", action[0], got.body)
		}
	}
	// Replacing a tag, or attaching a policy again, needs no space.
	w.mustIAM(t, "TagRole", "RoleName", "app", "Tags.member.1.Key", "K0", "Tags.member.1.Value", "v")
	w.mustIAM(t, "AttachRolePolicy", "RoleName", "app", "PolicyArn", "arn:aws:iam::aws:policy/P0")
}
