//go:build unix

package doctor_test

import (
	"strings"
	"testing"
)

const trustRoles = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"rolesanywhere.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]%s}}`

// trustSecond is the trust policy of a role that the role of the session assumes.
const trustSecond = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + roleARN + `"},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"],
"Condition":{"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"client","sts:ExternalId":"e-1"}}}}`

func trust(text string) func(*scene) { return write("trust.json", text) }

const policy = goodFlags + " --trust-policy {dir}/trust.json"

var brokenPolicies = []setup{
	{name: "policy is not JSON", args: policy, prepare: trust("{"), check: "policy", seen: "trust.json", command: "+1", code: 1},
	{name: "policy ends too early", args: policy, prepare: trust(`{"Statement":`), check: "policy", seen: "ends too early", command: "+1", code: 1},
	{name: "name that the certificate does not have", args: policy, prepare: trust(strings.Replace(trustRoles, "%s", `,"Condition":{"StringEquals":{"aws:PrincipalTag/x509Subject/OU":"ops"}}`, 1)),
		check: "policy", seen: "requires x509Subject/OU = ops; the certificate has no OU", command: "${EDITOR:-vi}", code: 1},
	{name: "second role for another role", args: policy + " --assume-role-arn arn:aws:iam::444455556666:role/second", prepare: trust(strings.Replace(trustSecond, "role/demo", "role/other", 1)),
		check: "policy", seen: "does not allow sts:AssumeRole for the session of " + roleARN + ": the principal of statement 1 is not " + roleARN, command: "${EDITOR:-vi}", code: 1},
	{name: "external ID of the second role", args: policy + " --assume-role-arn arn:aws:iam::444455556666:role/second --assume-role-external-id e-2", prepare: trust(trustSecond),
		check: "policy", seen: "requires sts:ExternalId = e-1; the request has e-2", command: "${EDITOR:-vi}", code: 1},
	{name: "policy of the second role missing", args: policy + " --assume-role-arn arn:aws:iam::444455556666:role/second", check: "policy", seen: "trust.json", command: "aws iam get-role --role-name second", code: 3},
	{name: "second statement", args: policy, prepare: trust("{\"Statement\": [\n{\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"ec2.amazonaws.com\"},\"Action\":\"*\"},\n" +
		`{"Effect":"Allow","Principal":{"Service":"rolesanywhere.amazonaws.com"},"Action":"*","Condition":{"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"server","aws:PrincipalTag/x509Subject/OU":"ops"}}}]}`),
		check: "policy", seen: "statement 2 requires x509Subject/CN = server; the certificate has client, and it requires x509Subject/OU = ops", command: "${EDITOR:-vi} +3 {dir}/trust.json", code: 1},
	{name: "second role whose policy names everybody", args: policy + " --assume-role-arn arn:aws:iam::444455556666:role/second --assume-role-external-id e-2",
		prepare: trust(strings.Replace(trustSecond, `{"AWS":"`+roleARN+`"}`, `"*"`, 1)),
		check:   "policy", seen: "for the session of " + roleARN + ": statement 1 requires sts:ExternalId = e-1", command: "${EDITOR:-vi} +1", code: 1},
	{name: "response of get-role", args: policy, prepare: trust("{\"Role\":{\"RoleName\":\"demo\",\n\"AssumeRolePolicyDocument\":\n" + strings.Replace(strings.Replace(trustRoles, "rolesanywhere", "ec2", 1), "%s", "", 1) + "}}"),
		check: "policy", seen: "the principal of statement 1 is not rolesanywhere.amazonaws.com", command: "${EDITOR:-vi} +3", code: 1},
	{name: "policy missing", args: policy, check: "policy", seen: "trust.json", command: "aws iam get-role --role-name demo", code: 3},
	{name: "condition not met", args: policy, prepare: trust(strings.Replace(trustRoles, "%s", `,"Condition":{"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"server"}}`, 1)),
		check: "policy", seen: "statement 1 requires x509Subject/CN = server; the certificate has client", command: "${EDITOR:-vi} +1 {dir}/trust.json", code: 1},
	{name: "condition not met beside an operator that doctor cannot evaluate", args: policy,
		prepare: trust(strings.Replace(trustRoles, "%s", `,"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"server"}}`, 1)),
		check:   "policy", seen: "statement 1 requires x509Subject/CN = server; the certificate has client", command: "${EDITOR:-vi} +1 {dir}/trust.json", code: 1},
	{name: "TagSession forgotten", args: policy, prepare: trust(strings.Replace(strings.Replace(trustRoles, `"sts:TagSession",`, "", 1), "%s", "", 1)),
		check: "policy", seen: "does not allow sts:TagSession for this certificate: statement 1 does not list it", command: "${EDITOR:-vi} +1 {dir}/trust.json", code: 1},
	{name: "other service", args: policy, prepare: trust(strings.Replace(strings.Replace(trustRoles, "rolesanywhere", "ec2", 1), "%s", "", 1)),
		check: "policy", seen: "the principal of statement 1 is not rolesanywhere.amazonaws.com", command: "${EDITOR:-vi} +1 {dir}/trust.json", code: 1},
	{name: "condition on another trust anchor", args: policy, prepare: trust(strings.Replace(trustRoles, "%s", `,"Condition":{"ArnEquals":{"aws:SourceArn":"`+anchorARN[:len(anchorARN)-1]+`2"}}`, 1)),
		check: "policy", seen: "requires aws:SourceArn = arn:", command: "${EDITOR:-vi} +1 {dir}/trust.json", code: 1},
	{name: "denied", args: policy, prepare: trust(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*"},{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}]}`),
		check: "policy", seen: "denies sts:AssumeRole for this certificate: statement 2 applies", command: "${EDITOR:-vi} +1 {dir}/trust.json", code: 1},
}

// The hint below a policy says what can be changed.
func TestPolicyHints(t *testing.T) {
	second := policy + " --assume-role-arn arn:aws:iam::444455556666:role/second"
	tagged := strings.Replace(trustSecond, `"sts:ExternalId":"e-1"`, `"aws:RequestTag/Team":"blue","sts:ExternalId":"e-1"`, 1)
	for _, test := range []struct{ args, policy, hint string }{
		{second + " --assume-role-external-id e-2", tagged, "pass --assume-role-tag Team=blue --assume-role-external-id e-1, or change statement 1; then"},
		{policy, strings.Replace(strings.Replace(trustRoles, `"sts:TagSession",`, "", 1), "%s", "", 1), "add sts:TagSession to Action of statement 1; then"},
		{policy, strings.Replace(trustRoles, "%s", `,"Condition":{"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"server"}}`, 1), "or use another certificate; then"},
	} {
		s := preparedScene(t, setup{prepare: trust(test.policy)})
		l, _ := s.examine(setup{args: test.args}).first("fault")
		if l.Check != "policy" || !strings.Contains(l.Hint, test.hint) {
			t.Errorf("%+v, want %q", l, test.hint)
		}
	}
}
