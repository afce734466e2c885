package trustpolicy

import (
	"errors"
	"fmt"
	"testing"
)

// A part that is not evaluated leaves the answer open only if it decides.
func TestParsePartly(t *testing.T) {
	const (
		cn    = `"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"Alice"}`
		other = `"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"Bob"}`
		ip    = `"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}`
		all   = `"Principal":"*","Action":"*"`
	)
	allow := func(condition string) string {
		return `{"Effect":"Allow",` + all + `,"Condition":{` + condition + `}}`
	}
	deny := func(condition string) string {
		return `{"Effect":"Deny",` + all + `,"Condition":{` + condition + `}}`
	}
	const operator = "statement 1: the operator IpAddress"
	for _, tt := range []struct{ statements, want string }{ // "": allowed; "denied"; or the statement and the part that decides
		{allow(cn), ""},
		{allow(ip), operator},
		{allow(cn + "," + ip), operator},
		{allow(ip + "," + other), "denied"},
		{allow(ip) + "," + allow(cn), ""},
		{allow(other) + "," + allow(ip), "statement 2: the operator IpAddress"},
		{allow(cn) + "," + deny(ip), "statement 2: the operator IpAddress"},
		{allow(cn) + "," + deny(ip+","+other), ""},
		{allow(cn) + "," + deny(cn) + "," + deny(ip), "denied"},
		{allow(other) + "," + deny(ip), "denied"},
		{allow(`"Bool":{"aws:SecureTransport":true}`), "statement 1: the operator Bool"},
		{allow(`"NumericLessThan":{"aws:MultiFactorAuthAge":[1,2]}`), "statement 1: the operator NumericLessThan"},
		{allow(`"StringEquals":{"aws:SourceVpce":"vpce-1"}`), "statement 1: the key aws:SourceVpce"},
		{allow(`"StringEquals":{"aws:SourceVpce":"vpce-1","aws:SourceAccount":"444455556666"}`), "denied"},
		{allow(`"StringEquals":{"sts:SourceIdentity":"${aws:username}"}`), "statement 1: the key aws:username"},
		{`{"Effect":"Allow","Principal":"*","NotAction":"sts:SetContext"}`, "statement 1: the element NotAction"},
		{allow(cn) + `,{"Effect":"Deny","NotPrincipal":{"AWS":"111122223333"},"Action":"*"}`, "statement 2: the element NotPrincipal"},
		{`{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"*","Condition":{` + ip + `}}`, "denied"},
	} {
		document := `{"Version":"2012-10-17","Statement":[` + tt.statements + `]}`
		p, err := ParsePartly([]byte(document))
		if err != nil {
			t.Errorf("%s: %v", document, err)
			continue
		}
		got := ""
		var unsupported *UnsupportedError
		var denied *DeniedError
		switch err := p.Allows(testRequest()); {
		case errors.As(err, &unsupported):
			got = fmt.Sprintf("statement %d: %s", unsupported.Statement, unsupported.What)
		case errors.As(err, &denied):
			got = "denied"
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", document, got, tt.want)
		}
		if strict, err := Parse([]byte(document)); (err == nil) != (strict != nil) || errors.As(err, &unsupported) && strict != nil {
			t.Errorf("%s: %v", document, err)
		}
	}
}

// A typo is an error also beside a part that is not evaluated.
func TestParsePartlyRefusesTypos(t *testing.T) {
	for _, document := range []string{
		policyWith(`{"IpAdress":{"aws:SourceIp":"10.0.0.0/8"}}`),
		policyWith(`{"IpAddress":{"SourceIp":"10.0.0.0/8"}}`),
		policyWith(`{"Null":{"aws:PrincipalTag/x509Subjekt/CN":"true"}}`),
		policyWith(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"StringEqual":{"aws:SourceArn":"1"}}`),
		policyWith(`{"IpAddress":{}}`),
		`{"Statement":{"Effect":"Allow","NotPrincipal":"*"}}`,
	} {
		if _, err := ParsePartly([]byte(document)); err == nil {
			t.Errorf("no error: %s", document)
		}
	}
}
