package issuing

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// A statement is the statement of a trust policy.
type statement struct {
	Effect    string            `json:"Effect"`
	Principal map[string]string `json:"Principal"`
	Action    []string          `json:"Action"`
	Condition map[string]any    `json:"Condition"`
}

type policy struct {
	Version   string      `json:"Version"`
	Statement []statement `json:"Statement"`
}

// trustPolicy returns the trust policy of a role that one machine may assume
// through one trust anchor. Without the condition for the trust anchor, the CA of
// every other trust anchor of the account could make such a certificate.
func trustPolicy(trustAnchor, commonName string) policy {
	return policy{"2012-10-17", []statement{{
		Effect:    "Allow",
		Principal: map[string]string{"Service": "rolesanywhere.amazonaws.com"},
		Action:    []string{"sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"},
		Condition: map[string]any{
			"ArnEquals":    map[string]string{"aws:SourceArn": trustAnchor},
			"StringEquals": map[string]string{"aws:PrincipalTag/x509Subject/CN": commonName},
		},
	}}}
}

// awsCommands returns the commands for a shell that make a trust anchor of the
// CA, and a role for one machine.
func awsCommands(c *x509.Certificate, path string) string {
	document, err := json.MarshalIndent(trustPolicy("$TRUST_ANCHOR_ARN", "$COMMON_NAME"), "", "  ")
	if err != nil {
		panic(err) // a policy consists of texts
	}
	name := anchorName(c.Subject.CommonName)
	return fmt.Sprintf(`# Make a trust anchor of the CA:
CERTIFICATE="x509CertificateData=$(cat %s)"
TRUST_ANCHOR_ARN=$(aws rolesanywhere create-trust-anchor --enabled \
    --name %s \
    --source "sourceType=CERTIFICATE_BUNDLE,sourceData={$CERTIFICATE}" \
    --query trustAnchor.trustAnchorArn --output text)

# Make a role for the machine whose certificate has this common name:
COMMON_NAME=app
cat > trust-policy.json <<END
%s
END
ROLE_ARN=$(aws iam create-role --role-name "$COMMON_NAME" \
    --assume-role-policy-document file://trust-policy.json \
    --query Role.Arn --output text)
PROFILE_ARN=$(aws rolesanywhere create-profile --enabled \
    --name "$COMMON_NAME" --role-arns "$ROLE_ARN" \
    --query profile.profileArn --output text)
`, front.ShellQuote(path), front.ShellQuote(name), document)
}

// anchorName returns the name of a trust anchor: at most 255 letters, digits,
// spaces, hyphens and underscores.
//
// Source: IAM Roles Anywhere API Reference, CreateTrustAnchor.
func anchorName(s string) string {
	name := strings.Map(func(r rune) rune {
		if 'a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune(" -_", r) {
			return r
		}
		return '-'
	}, s)
	if name = strings.TrimSpace(name[:min(len(name), 255)]); name == "" {
		return "holdfast"
	}
	return name
}
