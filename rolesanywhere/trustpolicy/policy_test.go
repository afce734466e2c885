package trustpolicy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const testAnchor = "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001"

// testRequest returns the request of the policy tests.
func testRequest() Request {
	return CreateSession(testAnchor, "111122223333", "CN=Alice", "alice", map[string]string{
		"x509Subject/CN":  "Alice",
		"x509Subject/OU":  "Security/Research",
		"x509Subject/O":   "a*b",
		"x509Subject/ST":  "A*",
		"x509Issuer/CN":   "Root CA",
		"x509SAN/DNS":     "host.example.com",
		"x509SAN/URI":     "spiffe://example.com/ns/prod/sa/web",
		"x509SAN/Name/CN": "alice",
	})
}

func policyWith(condition string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
		"Principal":{"Service":"rolesanywhere.amazonaws.com"},
		"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"],
		"Condition":%s}]}`, condition)
}

func TestConditions(t *testing.T) {
	const cn = `"aws:PrincipalTag/x509Subject/CN"`
	const missing = `"aws:PrincipalTag/x509Subject/L"` // not in the certificate
	for _, tt := range []struct {
		condition string
		want      bool
	}{
		{`{"StringEquals":{` + cn + `:"Alice"}}`, true},
		{`{"StringEquals":{` + cn + `:"alice"}}`, false},
		{`{"StringEquals":{` + cn + `:["Bob","Alice"]}}`, true},
		{`{"StringEquals":{` + cn + `:["Bob","Carol"]}}`, false},
		{`{"StringEquals":{` + cn + `:"A*"}}`, false},
		{`{"StringEquals":{` + cn + `:""}}`, false},
		{`{"StringEquals":{"aws:PrincipalTag/x509Subject/O":"a*b"}}`, true},
		{`{"StringEquals":{` + missing + `:"Alice"}}`, false},
		{`{"StringEqualsIfExists":{` + missing + `:"Alice"}}`, true},
		{`{"StringEqualsIfExists":{` + cn + `:"Bob"}}`, false},
		{`{"StringEqualsIfExists":{` + cn + `:"Alice"}}`, true},
		{`{"StringNotEquals":{` + cn + `:"Bob"}}`, true},
		{`{"StringNotEquals":{` + cn + `:["Bob","Alice"]}}`, false},
		{`{"StringNotEquals":{` + missing + `:"Bob"}}`, true},
		{`{"StringNotEqualsIfExists":{` + missing + `:"Bob"}}`, true},
		{`{"StringNotEqualsIfExists":{` + cn + `:"Alice"}}`, false},
		{`{"StringEqualsIgnoreCase":{` + cn + `:"aLICE"}}`, true},
		{`{"StringEqualsIgnoreCase":{` + cn + `:"aLIC"}}`, false},
		{`{"StringNotEqualsIgnoreCase":{` + cn + `:"aLICE"}}`, false},
		{`{"StringLike":{` + cn + `:"A*"}}`, true},
		{`{"StringLike":{` + cn + `:"*"}}`, true},
		{`{"StringLike":{` + cn + `:"A??ce"}}`, true},
		{`{"StringLike":{` + cn + `:"A?ce"}}`, false},
		{`{"StringLike":{` + cn + `:"*l*e*"}}`, true},
		{`{"StringLike":{` + cn + `:"*l"}}`, false},
		{`{"StringLike":{` + cn + `:"a*"}}`, false},
		{`{"StringLike":{"aws:PrincipalTag/x509SAN/URI":"spiffe://example.com/ns/*/sa/*"}}`, true},
		{`{"StringLike":{"aws:PrincipalTag/x509SAN/URI":"spiffe://example.org/ns/*/sa/*"}}`, false},
		{`{"StringLikeIfExists":{` + missing + `:"x"}}`, true},
		{`{"StringNotLike":{` + cn + `:"A*"}}`, false},
		{`{"StringNotLike":{` + cn + `:["B*","C*"]}}`, true},
		{`{"ArnEquals":{"aws:SourceArn":"` + testAnchor + `"}}`, true},
		{`{"ArnEquals":{"aws:SourceArn":"arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/*"}}`, true},
		{`{"ArnLike":{"aws:SourceArn":"arn:aws:rolesanywhere:*:111122223333:*"}}`, true},
		{`{"ArnLike":{"aws:SourceArn":"arn:aws:rolesanywhere:us-????-1:*:trust-anchor/0*"}}`, true},
		{`{"ArnLike":{"aws:SourceArn":"arn:*:*:*:*:*"}}`, true},
		{`{"ArnLike":{"aws:SourceArn":"arn:aws:rolesanywhere*:111122223333:trust-anchor/*:*:*"}}`, false}, // * does not match a colon
		{`{"ArnLike":{"aws:SourceArn":"arn:aws:rolesanywhere:eu-west-1:111122223333:*"}}`, false},
		{`{"ArnLike":{` + cn + `:"arn:*:*:*:*:*"}}`, false},
		{`{"ArnNotEquals":{"aws:SourceArn":"` + testAnchor + `"}}`, false},
		{`{"ArnNotEquals":{"aws:SourceArn":"arn:aws:rolesanywhere:*:444455556666:*"}}`, true},
		{`{"ArnNotLike":{"aws:SourceArn":["arn:aws:s3:::x","arn:aws:*:*:*:*"]}}`, false},
		{`{"ArnNotLikeIfExists":{` + missing + `:"arn:aws:s3:::x"}}`, true},
		{`{"ArnEqualsIfExists":{"aws:SourceArn":"arn:aws:s3:::x"}}`, false},
		{`{"StringEquals":{"aws:SourceArn":"` + testAnchor + `"}}`, true},
		{`{"StringEquals":{"aws:SourceAccount":"111122223333"}}`, true},
		{`{"StringEquals":{"aws:SourceAccount":"444455556666"}}`, false},
		{`{"StringEquals":{"sts:SourceIdentity":"CN=Alice"}}`, true},
		{`{"StringEquals":{"sts:SourceIdentity":"Alice"}}`, false},
		{`{"StringEquals":{"sts:RoleSessionName":"alice"}}`, true},
		{`{"StringEquals":{"AWS:principaltag/X509SUBJECT/cn":"Alice"}}`, true},
		{`{"StringEquals":{"aws:RequestTag/x509Subject/CN":"Alice"}}`, true},
		{`{"StringEquals":{"aws:PrincipalTag/x509Subject/OU":"Security/Research"}}`, true},
		{`{"StringEquals":{"aws:PrincipalTag/x509Subject/OU":"Security"}}`, false},
		{`{"StringEquals":{"aws:PrincipalTag/x509Issuer/CN":"Root CA"}}`, true},
		{`{"StringEquals":{"aws:PrincipalTag/x509SAN/DNS":"host.example.com"}}`, true},
		{`{"StringEquals":{"aws:PrincipalTag/x509SAN/Name/CN":"alice"}}`, true},
		// All keys and operators must match.
		{`{"StringEquals":{` + cn + `:"Alice","aws:SourceAccount":"111122223333"}}`, true},
		{`{"StringEquals":{` + cn + `:"Alice","aws:SourceAccount":"444455556666"}}`, false},
		{`{"StringEquals":{` + cn + `:"Alice"},"ArnLike":{"aws:SourceArn":"` + testAnchor + `"}}`, true},
		{`{"StringEquals":{` + cn + `:"Alice"},"ArnNotLike":{"aws:SourceArn":"` + testAnchor + `"}}`, false},
		{`{}`, true},
		// Policy variables.
		{`{"StringEquals":{"sts:SourceIdentity":"CN=${aws:PrincipalTag/x509Subject/CN}"}}`, true},
		{`{"StringEquals":{"sts:RoleSessionName":"${aws:PrincipalTag/x509Subject/CN}"}}`, false},
		{`{"StringEqualsIgnoreCase":{"sts:RoleSessionName":"${aws:principaltag/x509subject/cn}"}}`, true},
		{`{"StringEquals":{"sts:RoleSessionName":"${aws:PrincipalTag/x509Subject/L}"}}`, false},
		{`{"StringNotEquals":{"sts:RoleSessionName":"${aws:PrincipalTag/x509Subject/L}"}}`, false},
		{`{"StringLike":{` + cn + `:"${aws:PrincipalTag/x509Subject/ST}"}}`, false}, // a * from a variable is not a wildcard
		{`{"StringLike":{"aws:PrincipalTag/x509Subject/O":"${aws:PrincipalTag/x509Subject/O}"}}`, true},
		{`{"StringLike":{"aws:PrincipalTag/x509Subject/O":"a${*}b"}}`, true},
		{`{"StringLike":{` + cn + `:"A${*}"}}`, false},
		{`{"ArnLike":{"aws:SourceArn":"arn:aws:rolesanywhere:us-east-1:${aws:SourceAccount}:trust-anchor/*"}}`, true},
	} {
		p, err := Parse([]byte(policyWith(tt.condition)))
		if err != nil {
			t.Errorf("%s: %v", tt.condition, err)
			continue
		}
		if err := p.Allows(testRequest()); (err == nil) != tt.want {
			t.Errorf("%s: %v, want allowed %v", tt.condition, err, tt.want)
		}
	}
}

func TestStatements(t *testing.T) {
	const all = `"Effect":"Allow","Principal":"*","Action":"sts:*"`
	const deny = `"Effect":"Deny","Principal":"*",`
	for _, tt := range []struct {
		statement string
		want      bool
	}{
		{`{` + all + `}`, true},
		{`[{` + all + `}]`, true},
		{`{"Sid":"x",` + all + `}`, true},
		{`{"Effect":"Allow","Principal":{"Service":"rolesanywhere.amazonaws.com"},"Action":"*"}`, true},
		{`{"Effect":"Allow","Principal":{"Service":["ec2.amazonaws.com","rolesanywhere.amazonaws.com"]},"Action":"sts:*"}`, true},
		{`{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:*"}`, true},
		{`{"Effect":"Allow","Principal":{"Service":"*"},"Action":"sts:*"}`, true},
		{`{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:*"}`, false},
		{`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"sts:*"}`, false},
		{`{"Effect":"Allow","Principal":{"Federated":"cognito-identity.amazonaws.com"},"Action":"sts:*"}`, false},
		{`{"Effect":"Allow","Principal":"*","Action":["sts:AssumeRole","sts:TagSession"]}`, false},
		{`{"Effect":"Allow","Principal":"*","Action":["sts:AssumeRole","sts:SetSourceIdentity"]}`, false},
		{`{"Effect":"Allow","Principal":"*","Action":["sts:TagSession","sts:SetSourceIdentity"]}`, false},
		{`{"Effect":"Allow","Principal":"*","Action":["STS:assumerole","sts:tagsession","sts:SETSOURCEIDENTITY"]}`, true},
		{`{"Effect":"Allow","Principal":"*","Action":["sts:Assume*","sts:TagSessio?","*SetSourceIdentity"]}`, true},
		{`{"Effect":"Allow","Principal":"*","Action":["sts:AssumeRoleWith*","sts:TagSession","sts:SetSourceIdentity"]}`, false},
		{`[{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"},
		   {"Effect":"Allow","Principal":"*","Action":["sts:TagSession","sts:SetSourceIdentity"]}]`, true},
		{`[{` + all + `},{` + deny + `"Action":"sts:TagSession"}]`, false},
		{`[{` + deny + `"Action":"sts:TagSession"},{` + all + `}]`, false},
		{`[{` + all + `},{` + deny + `"Action":"sts:AssumeRoleWithSAML"}]`, true},
		{`[{` + all + `},{"Effect":"Deny","Principal":{"Service":"ec2.amazonaws.com"},"Action":"*"}]`, true},
		{`[{` + all + `},{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"*"}]`, false},
		{`[{` + all + `},{` + deny + `"Action":"*","Condition":{"StringNotEquals":{"aws:PrincipalTag/x509Subject/CN":"Alice"}}}]`, true},
		{`[{` + all + `},{` + deny + `"Action":"*","Condition":{"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"Alice"}}}]`, false},
		{`{"Effect":"Deny","Principal":"*","Action":"*"}`, false},
	} {
		p, err := Parse([]byte(`{"Statement":` + tt.statement + `,"Version":"2012-10-17","Id":"x"}`))
		if err != nil {
			t.Errorf("%s: %v", tt.statement, err)
			continue
		}
		if err := p.Allows(testRequest()); (err == nil) != tt.want {
			t.Errorf("%s: %v, want allowed %v", tt.statement, err, tt.want)
		}
	}
}

// Versions before 2012-10-17 have no variables.
func TestPolicyVariablesOfOldVersion(t *testing.T) {
	condition := `{"StringEquals":{"sts:SourceIdentity":"CN=${aws:PrincipalTag/x509Subject/CN}"}}`
	for _, version := range []string{`"Version":"2008-10-17",`, ""} {
		p, err := Parse([]byte(strings.Replace(policyWith(condition), `"Version":"2012-10-17",`, version, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if p.Allows(testRequest()) == nil {
			t.Errorf("version %q: variable was replaced", version)
		}
	}
}

func TestPolicyErrors(t *testing.T) {
	const statement = `{"Effect":"Allow","Principal":"*","Action":"*"`
	for _, document := range []string{
		``, `x`, `[]`, `null`, `"x"`,
		`{}`, `{"Version":"2012-10-17"}`, `{"Statement":[]}`, `{"Statement":null}`, `{"Statement":"x"}`, `{"Statement":[1]}`,
		`{"Statement":` + statement + `}}{}`,
		`{"Statement":` + statement + `},"Statement":` + statement + `}}`,
		`{"Version":"2012-10-18","Statement":` + statement + `}}`,
		`{"Version":20121017,"Statement":` + statement + `}}`,
		`{"version":"2012-10-17","Statement":` + statement + `}}`,
		`{"Statement":` + statement + `,"Resource":"*"}}`,
		`{"Statement":` + statement + `,"NotAction":"*"}}`,
		`{"Statement":` + statement + `,"Sid":1}}`,
		`{"Statement":` + statement + `,"Effect":"Deny"}}`,
		`{"Statement":{"Effect":"allow","Principal":"*","Action":"*"}}`,
		`{"Statement":{"Principal":"*","Action":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*"}}`,
		`{"Statement":{"Effect":"Allow","Principal":"*"}}`,
		`{"Statement":{"Effect":"Allow","Principal":"rolesanywhere.amazonaws.com","Action":"*"}}`,
		`{"Statement":{"Effect":"Allow","Principal":{},"Action":"*"}}`,
		`{"Statement":{"Effect":"Allow","Principal":{"service":"rolesanywhere.amazonaws.com"},"Action":"*"}}`,
		`{"Statement":{"Effect":"Allow","Principal":{"Service":"rolesanywhere"},"Action":"*"}}`,
		`{"Statement":{"Effect":"Allow","Principal":{"Service":[]},"Action":"*"}}`,
		`{"Statement":{"Effect":"Allow","Principal":{"AWS":"app"},"Action":"*"}}`,
		`{"Statement":{"Effect":"Allow","Principal":{"AWS":"11112222333"},"Action":"*"}}`,
		`{"Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/*"},"Action":"*"}}`,
		`{"Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:s3::111122223333:role/app"},"Action":"*"}}`,
		`{"Statement":{"Effect":"Allow","Principal":{"Service":[1]},"Action":"*"}}`,
		`{"Statement":{"Effect":"Allow","Principal":"*","Action":"sts:AsumeRole"}}`,
		`{"Statement":{"Effect":"Allow","Principal":"*","Action":["sts:AssumeRole","s3:GetObject"]}}`,
		`{"Statement":{"Effect":"Allow","Principal":"*","Action":[]}}`,
		`{"Statement":{"Effect":"Allow","Principal":"*","Action":1}}`,
		policyWith(`[]`),
		policyWith(`{"StringEqual":{"aws:SourceAccount":"1"}}`),
		policyWith(`{"stringEquals":{"aws:SourceAccount":"1"}}`),
		policyWith(`{"StringEqualsIfexists":{"aws:SourceAccount":"1"}}`),
		policyWith(`{"IfExists":{"aws:SourceAccount":"1"}}`),
		policyWith(`{"ForanyValue:StringEquals":{"aws:SourceAccount":"1"}}`),
		policyWith(`{"ForAnyValue:":{"aws:SourceAccount":"1"}}`),
		policyWith(`{"NumericEquals":{"aws:SourceAccount":"1"}}`),
		policyWith(`{"StringEquals":{}}`),
		policyWith(`{"StringEquals":[]}`),
		policyWith(`{"StringEquals":{"aws:SourceAcount":"1"}}`),
		policyWith(`{"StringEquals":{"aws:PrincipalTag/x509Subject":"1"}}`),
		policyWith(`{"StringEquals":{"aws:PrincipalTag/x509Subject/XX":"1"}}`),
		policyWith(`{"StringEquals":{"aws:PrincipalTag/x509SAN/IP":"1"}}`),
		policyWith(`{"StringEquals":{"aws:PrincipalTag/x509SAN/Name":"1"}}`),
		policyWith(`{"StringEquals":{"aws:PrincipalTag/x509SAN/DNS/CN":"1"}}`),
		policyWith(`{"StringEquals":{"aws:PrincipalTag/":"1"}}`),
		policyWith(`{"StringEquals":{"aws:PrincipalTag/te#am":"1"}}`),
		policyWith(`{"StringEquals":{"aws:PrincipalTag/x509Subjekt/CN":"1"}}`),
		policyWith(`{"StringEquals":{"aws:SourceAccount":1}}`),
		policyWith(`{"StringEquals":{"aws:SourceAccount":[]}}`),
		policyWith(`{"StringEquals":{"aws:SourceAccount":["1",2]}}`),
		policyWith(`{"StringEquals":{"aws:SourceAccount":"1","aws:SourceAccount":"2"}}`),
		policyWith(`{"StringEquals":{"aws:SourceAccount":"${aws:username}"}}`),
		policyWith(`{"StringEquals":{"aws:SourceAccount":"${aws:SourceAccount"}}`),
		policyWith(`{"ArnLike":{"aws:SourceArn":"*"}}`),
		policyWith(`{"ArnLike":{"aws:SourceArn":"arn:aws:rolesanywhere:*"}}`),
	} {
		if _, err := Parse([]byte(document)); err == nil {
			t.Errorf("no error: %s", document)
		}
	}
}

// The time to match must not be exponential in the number of wildcards.
func TestGlobIsBounded(t *testing.T) {
	p := literalGlob(strings.Repeat("*a", 2000) + "b")
	if glob(p, []rune(strings.Repeat("a", 4000))) {
		t.Error("matched")
	}
}

// What AWS accepts and this package does not evaluate is another error than a typo.
func TestUnsupported(t *testing.T) {
	const statement = `{"Effect":"Allow","Principal":"*","Action":"*"}`
	for _, tt := range []struct{ document, what string }{ // "": another error
		{policyWith(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`), "the operator IpAddress"},
		{policyWith(`{"NotIpAddressIfExists":{"aws:SourceIp":"10.0.0.0/8"}}`), "the operator NotIpAddressIfExists"},
		{policyWith(`{"Bool":{"aws:SecureTransport":"true"}}`), "the operator Bool"},
		{policyWith(`{"Null":{"aws:PrincipalTag/x509Subject/CN":"false"}}`), "the operator Null"},
		{policyWith(`{"ForAllValues:DateGreaterThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}}`), "the operator DateGreaterThan"},
		{policyWith(`{"NumericLessThanEquals":{"aws:MultiFactorAuthAge":"1"}}`), "the operator NumericLessThanEquals"},
		{policyWith(`{"StringEquals":{"aws:SourceVpce":"vpce-1"}}`), "the key aws:SourceVpce"},
		{policyWith(`{"StringEquals":{"aws:SourceOrgID":"o-1"}}`), "the key aws:SourceOrgID"},
		{policyWith(`{"StringLike":{"token.actions.githubusercontent.com:sub":"repo:o/r:*"}}`), "the key token.actions.githubusercontent.com:sub"},
		{policyWith(`{"StringEquals":{"oidc.eks.us-east-1.amazonaws.com/id/A1:aud":"sts.amazonaws.com"}}`), "the key oidc.eks.us-east-1.amazonaws.com/id/A1:aud"},
		{policyWith(`{"StringEquals":{"sts:SourceIdentity":"${aws:username}"}}`), "the key aws:username"},
		{`{"Statement":{"Effect":"Deny","NotPrincipal":{"AWS":"*"},"Action":"*"}}`, "the element NotPrincipal"},
		{`{"Statement":{"Effect":"Allow","Principal":"*","NotAction":"sts:TagSession"}}`, "the element NotAction"},
		{policyWith(`{"StringEqual":{"aws:SourceArn":"1"}}`), ""},
		{policyWith(`{"StringEquals":{"SourceArn":"1"}}`), ""},
		{policyWith(`{"StringEquals":{"aws:PrincipalTag/x509Subjekt/CN":"1"}}`), ""},
	} {
		p, err := Parse([]byte(tt.document))
		var unsupported *UnsupportedError
		switch got := errors.As(err, &unsupported); {
		case p != nil || err == nil || got != (tt.what != ""):
			t.Errorf("%s: %v", tt.document, err)
		case got && (unsupported.What != tt.what || unsupported.Statement != 1):
			t.Errorf("%s: %+v, want %s", tt.document, unsupported, tt.what)
		}
	}
	_, err := Parse([]byte(`{"Statement":[` + statement + `,{"Effect":"Deny","Principal":"*","NotAction":"*"}]}`))
	var unsupported *UnsupportedError
	if !errors.As(err, &unsupported) || unsupported.Statement != 2 {
		t.Errorf("%v", err)
	}
}

func TestNames(t *testing.T) {
	for principal, want := range map[string]bool{
		`"*"`:                    false,
		`{"AWS":"*"}`:            false,
		`{"AWS":"111122223333"}`: false,
		`{"AWS":"111122223333","Service":"rolesanywhere.amazonaws.com"}`: true,
		`{"Service":"ec2.amazonaws.com"}`:                                false,
	} {
		p, err := Parse([]byte(`{"Statement":{"Effect":"Allow","Principal":` + principal + `,"Action":"*"}}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Names(RolesAnywhere); got != want {
			t.Errorf("%s: %t", principal, got)
		}
	}
}
