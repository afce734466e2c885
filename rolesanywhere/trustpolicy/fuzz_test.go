package trustpolicy

import "testing"

// FuzzParse evaluates policies of any text.
func FuzzParse(f *testing.F) {
	f.Add(policyWith(`{"StringLike":{"aws:PrincipalTag/x509Subject/CN":"a*${sts:RoleSessionName}${*}"},"ForAllValues:ArnLike":{"aws:SourceArn":"arn:*:*:*:*:*"}}`))
	f.Add(`{"Statement":[{"Sid":"x","Effect":"Deny","Principal":{"AWS":["111122223333","arn:aws:iam::111122223333:root"]},"Action":["sts:*"]}]}`)
	f.Add(`{"Version":"2008-10-17","Id":"x","Statement":{"Effect":"Allow","Principal":"*","Action":"*","Condition":{"ForAnyValue:StringEqualsIfExists":{"aws:TagKeys":["a","b"]}}}}`)
	f.Add(policyWith(`{"IpAddress":{"aws:SourceIp":["10.0.0.0/8"]},"Bool":{"aws:SecureTransport":true}}`))
	f.Fuzz(func(t *testing.T, document string) {
		p, err := Parse([]byte(document))
		if (err == nil) != (p != nil) {
			t.Fatalf("%v, %v", p, err)
		}
		if p == nil {
			if p, err = ParsePartly([]byte(document)); err != nil {
				return
			}
		}
		for _, r := range []Request{testRequest(), chained()} {
			if err := p.Allows(r); err != nil && err.Error() == "" {
				t.Error("an error without a text")
			}
			if n := len(p.Explain(r)); n != len(p.statements) {
				t.Errorf("%d of %d statements are explained", n, len(p.statements))
			}
		}
	})
}
