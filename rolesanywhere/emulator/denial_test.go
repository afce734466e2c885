package emulator

import (
	"log/slog"
	"strings"
	"testing"
)

// The reason of a refusal says which condition of which statement is not met.
func TestDenialIsExplained(t *testing.T) {
	for _, tt := range []struct{ policy, want string }{
		{policyWith(`{"StringEquals":{"aws:PrincipalTag/x509Subject/CN":"other"}}`),
			"trust policy does not allow sts:AssumeRole: statement 1 requires x509Subject/CN = other; the certificate has client"},
		{strings.Replace(policyWith("{}"), "rolesanywhere.amazonaws.com", "ec2.amazonaws.com", 1),
			"trust policy does not allow sts:AssumeRole: statement 1 has the principal ec2.amazonaws.com; the caller is rolesanywhere.amazonaws.com"},
		{strings.Replace(policyWith("{}"), `"Allow"`, `"Deny"`, 1),
			"trust policy denies sts:AssumeRole: statement 1 denies it"},
	} {
		var log strings.Builder
		w := newTestEnv(t, Config{Roles: []Role{{TrustPolicy: tt.policy}}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		w.do(t, call{})
		w.stop()
		if !strings.Contains(log.String(), "("+tt.want+")") {
			t.Errorf("%s:\n%s\nwant %s", tt.policy, log.String(), tt.want)
		}
	}
}
