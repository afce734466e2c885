package trustpolicy

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// chained returns the request of a session that assumes another role.
func chained() Request {
	ctx := make(Context)
	ctx.Set(KeyPrincipalArn, "arn:aws:iam::111122223333:role/base")
	ctx.Set(KeyPrincipalAccount, "111122223333")
	ctx.Set(KeyOwnSourceIdentity, "CN=app")
	ctx.Set(KeyRoleSessionName, "holdfast")
	ctx.Set(KeyExternalID, "e-1")
	ctx.SetTags(KeyPrincipalTag, map[string]string{"x509Subject/CN": "app"})
	ctx.SetTags(KeyRequestTag, map[string]string{"Team": "blue", "Stage": "prod"})
	ctx.Set(KeyTagKeys, "Team", "Stage")
	ctx.Set(KeyTransitiveTagKeys, "Team")
	return Request{
		Principal: Principal{Account: "111122223333", RoleARN: "arn:aws:iam::111122223333:role/base",
			SessionARN: "arn:aws:sts::111122223333:assumed-role/base/01"},
		Actions: []string{AssumeRole, TagSession},
		Context: ctx,
	}
}

func TestPrincipals(t *testing.T) {
	service := CreateSession(testAnchor, "111122223333", "CN=app", "01", nil)
	for _, tt := range []struct {
		principal     string
		role, service bool
	}{
		{`"*"`, true, true},
		{`{"AWS":"*"}`, true, true},
		{`{"Service":"*"}`, false, true},
		{`{"Service":"rolesanywhere.amazonaws.com"}`, false, true},
		{`{"AWS":"111122223333"}`, true, false},
		{`{"AWS":"444455556666"}`, false, false},
		{`{"AWS":"arn:aws:iam::111122223333:root"}`, true, false},
		{`{"AWS":"arn:aws:iam::444455556666:root"}`, false, false},
		{`{"AWS":"arn:aws:iam::111122223333:role/base"}`, true, false},
		{`{"AWS":"arn:aws:iam::111122223333:role/Base"}`, false, false},
		{`{"AWS":["arn:aws:iam::444455556666:root","arn:aws:iam::111122223333:role/base"]}`, true, false},
		{`{"AWS":"arn:aws:sts::111122223333:assumed-role/base/01"}`, true, false},
		{`{"AWS":"arn:aws:sts::111122223333:assumed-role/base/02"}`, false, false},
		{`{"AWS":"arn:aws:iam::111122223333:user/app"}`, false, false},
		{`{"AWS":"AROAEXAMPLE"}`, false, false},
		{`{"Service":"rolesanywhere.amazonaws.com","AWS":"arn:aws:iam::111122223333:role/base"}`, true, true},
	} {
		p, err := Parse([]byte(`{"Statement":{"Effect":"Allow","Principal":` + tt.principal + `,"Action":"sts:*"}}`))
		if err != nil {
			t.Errorf("%s: %v", tt.principal, err)
			continue
		}
		if got := p.Allows(chained()) == nil; got != tt.role {
			t.Errorf("%s: allows the role: %t", tt.principal, got)
		}
		if got := p.Allows(service) == nil; got != tt.service {
			t.Errorf("%s: allows Roles Anywhere: %t", tt.principal, got)
		}
	}
}

func TestUserPrincipal(t *testing.T) {
	request := Request{Principal: Principal{Account: "111122223333", UserARN: "arn:aws:iam::111122223333:user/app"}, Actions: []string{AssumeRole}}
	for principal, want := range map[string]bool{
		`"*"`:                    true,
		`{"AWS":"111122223333"}`: true,
		`{"AWS":"arn:aws:iam::111122223333:root"}`:       true,
		`{"AWS":"arn:aws:iam::111122223333:user/app"}`:   true,
		`{"AWS":"arn:aws:iam::111122223333:user/other"}`: false,
		`{"AWS":"arn:aws:iam::111122223333:role/app"}`:   false,
		`{"AWS":"arn:aws:iam::444455556666:root"}`:       false,
		`{"Service":"rolesanywhere.amazonaws.com"}`:      false,
	} {
		p, err := Parse([]byte(`{"Statement":{"Effect":"Allow","Principal":` + principal + `,"Action":"sts:*"}}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Allows(request) == nil; got != want {
			t.Errorf("%s: allows the user: %t", principal, got)
		}
	}
}

func TestCheckPartition(t *testing.T) {
	for _, tt := range []struct {
		principal, partition string
		want                 string // in the error; "": none
	}{
		{`"*"`, "aws", ""},
		{`{"AWS":["*","111122223333","AROAEXAMPLE"]}`, "aws-cn", ""},
		{`{"AWS":"arn:aws:iam::111122223333:root"}`, "aws", ""},
		{`{"AWS":"arn:aws-cn:iam::111122223333:role/app"}`, "aws-cn", ""},
		{`{"Service":"rolesanywhere.amazonaws.com"}`, "aws-cn", ""},
		{`{"AWS":"arn:aws-cn:iam::111122223333:root"}`, "aws", `statement 2: Principal: "arn:aws-cn:iam::111122223333:root" is not in partition aws`},
		{`{"AWS":["*","arn:aws:sts::111122223333:assumed-role/base/01"]}`, "aws-us-gov", `assumed-role/base/01" is not in partition aws-us-gov`},
		{`{"AWS":"arn:aws:iam::111122223333:root"}`, "aws-cn", "is not in partition aws-cn"},
		{`{"AWS":"arn:AWS:iam::111122223333:root"}`, "aws", "is not in partition aws"},
	} {
		p, err := Parse([]byte(`{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*"},{"Effect":"Deny","Principal":` + tt.principal + `,"Action":"*"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.CheckPartition(tt.partition); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s in %s: %v, want %q", tt.principal, tt.partition, err, tt.want)
		}
	}
}

func TestConditionsOfChains(t *testing.T) {
	for _, tt := range []struct {
		condition string
		want      bool
	}{
		{`{"StringEquals":{"sts:ExternalId":"e-1"}}`, true},
		{`{"StringEquals":{"sts:ExternalId":"e-2"}}`, false},
		{`{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/*"}}`, true},
		{`{"StringEquals":{"aws:PrincipalAccount":"444455556666"}}`, false},
		{`{"StringLike":{"aws:SourceIdentity":"CN=*"}}`, true},
		{`{"StringLike":{"sts:SourceIdentity":"CN=*"}}`, false}, // the request sets none
		{`{"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"app"}}`, true},
		{`{"StringEquals":{"aws:RequestTag/x509Subject/CN":"app"}}`, false},
		{`{"StringEquals":{"aws:RequestTag/team":"blue"}}`, true}, // keys are not case-sensitive
		{`{"StringEquals":{"aws:RequestTag/Team":"Blue"}}`, false},
		{`{"StringEquals":{"aws:RequestTag/Stage":"prod","aws:RequestTag/Team":"blue"}}`, true},
		{`{"ForAllValues:StringEquals":{"aws:TagKeys":["Team","Stage","Cost"]}}`, true},
		{`{"ForAllValues:StringEquals":{"aws:TagKeys":["Team"]}}`, false},
		{`{"ForAnyValue:StringEquals":{"aws:TagKeys":["Team"]}}`, true},
		{`{"ForAnyValue:StringEquals":{"aws:TagKeys":["Cost"]}}`, false},
		{`{"StringEquals":{"aws:TagKeys":"Stage"}}`, true},
		{`{"ForAllValues:StringEquals":{"sts:TransitiveTagKeys":["Team"]}}`, true},
		{`{"ForAllValues:StringNotEquals":{"aws:TagKeys":["Cost"]}}`, true},
		{`{"ForAllValues:StringNotEquals":{"aws:TagKeys":["Team"]}}`, false},
		{`{"ForAnyValue:StringNotEquals":{"aws:TagKeys":["Team"]}}`, true},
		// A missing key.
		{`{"ForAllValues:StringEquals":{"aws:PrincipalTag/none":["a"]}}`, true},
		{`{"ForAnyValue:StringEquals":{"aws:PrincipalTag/none":["a"]}}`, false},
		{`{"ForAnyValue:StringNotEquals":{"aws:PrincipalTag/none":["a"]}}`, false},
		{`{"ForAnyValue:StringEqualsIfExists":{"aws:PrincipalTag/none":["a"]}}`, true},
		// A variable with several values has no value.
		{`{"StringEquals":{"sts:ExternalId":"${aws:TagKeys}"}}`, false},
	} {
		p, err := Parse([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"sts:*","Condition":` + tt.condition + `}}`))
		if err != nil {
			t.Errorf("%s: %v", tt.condition, err)
			continue
		}
		if err := p.Allows(chained()); (err == nil) != tt.want {
			t.Errorf("%s: %v, want allowed %v", tt.condition, err, tt.want)
		}
	}
}

func TestDenied(t *testing.T) {
	for _, tt := range []struct {
		statements string
		want       DeniedError
	}{
		{`{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}`, DeniedError{TagSession, false}},
		{`{"Effect":"Allow","Principal":"*","Action":"sts:TagSession"}`, DeniedError{AssumeRole, false}},
		{`[{"Effect":"Allow","Principal":"*","Action":"*"},{"Effect":"Deny","Principal":"*","Action":"sts:TagSession"}]`, DeniedError{TagSession, true}},
	} {
		p, err := Parse([]byte(`{"Statement":` + tt.statements + `}`))
		if err != nil {
			t.Fatal(err)
		}
		var denied *DeniedError
		if err := p.Allows(chained()); !errors.As(err, &denied) || *denied != tt.want {
			t.Errorf("%s: %v, want %v", tt.statements, err, &tt.want)
		}
	}
}

func TestExplain(t *testing.T) {
	p, err := Parse([]byte(`{"Version":"2012-10-17","Statement":[
		{"Sid":"other","Effect":"Allow","Principal":{"Service":"rolesanywhere.amazonaws.com"},"Action":"*"},
		{"Effect":"Deny","Principal":"*","Action":["sts:TagSession","sts:SetSourceIdentity"],"Condition":{
			"StringEquals":{"aws:RequestTag/Team":["blue","red"],"aws:PrincipalTag/none":"x"}}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	got := p.Explain(chained())
	want := []StatementResult{
		{Number: 1, Sid: "other", Actions: []string{AssumeRole, TagSession}},
		{Number: 2, Deny: true, Principal: true, Actions: []string{TagSession}, Conditions: []ConditionResult{
			{Operator: "StringEquals", Key: "aws:RequestTag/Team", Want: []string{"blue", "red"}, Got: []string{"blue"}, Met: true},
			{Operator: "StringEquals", Key: "aws:PrincipalTag/none", Want: []string{"x"}},
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if got[0].Applies() || got[1].Applies() {
		t.Error("a statement applies")
	}
}

// Tags, transitive tags and keys of conditions are compared with the same folding.
func TestFolding(t *testing.T) {
	for range 20 { // the order of a map is random
		ctx := make(Context)
		ctx.SetTags(KeyRequestTag, map[string]string{"id": "a", "İd": "b", "ID": "c"})
		ctx.SetTags(KeyRequestTag, map[string]string{"Id": "d"})
		if got := ctx[FoldKey("aws:requesttag/iD")]; len(ctx) != 1 || !slices.Equal(got, []string{"c"}) {
			t.Fatalf("%v", ctx)
		}
	}
	// A key that the folding does not make the known one has a value in no request.
	for _, key := range []string{"aws:ſourceArn", "aws:PrincipalTag/x509ſubject/CN", "aws:RequestTag/x509SAN/DNſ"} {
		if _, err := parseKey(key); err == nil {
			t.Errorf("%s: no error", key)
		}
	}
}
