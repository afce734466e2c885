package emulator

import (
	"fmt"
	"net/http"
	"testing"
)

func policyWith(condition string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
		"Principal":{"Service":"rolesanywhere.amazonaws.com"},
		"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"],
		"Condition":%s}]}`, condition)
}

func TestPolicyOverHTTP(t *testing.T) {
	allowed := policyWith(`{"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"client","aws:PrincipalTag/x509Issuer/O":"Test"},
		"ArnEquals":{"aws:SourceArn":"` + testAnchor + `"}}`)
	denied := policyWith(`{"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"server"}}`)
	named := policyWith(`{"StringEquals":{"sts:RoleSessionName":"${aws:PrincipalTag/x509Subject/CN}"}}`)
	role := func(name string) string { return "arn:aws:iam::111122223333:role/" + name }
	w := newTestEnv(t, Config{
		Roles: []Role{
			{ARN: role("allowed"), TrustPolicy: allowed},
			{ARN: role("denied"), TrustPolicy: denied},
			{ARN: role("named"), TrustPolicy: named},
		},
		Profiles: []Profile{{AcceptRoleSessionName: true}},
	})
	w.do(t, call{body: body("roleArn", role("allowed"))}).session(t)
	w.do(t, call{body: body("roleArn", role("named"), "roleSessionName", "client")}).session(t)
	checkRefused(t, w.do(t, call{body: body("roleArn", role("denied"))}),
		http.StatusForbidden, codeAccessDenied, "Unable to assume role for "+role("denied"))
	checkRefused(t, w.do(t, call{body: body("roleArn", role("named"))}),
		http.StatusForbidden, codeAccessDenied, "Unable to assume role for "+role("named"))
}
