package issuing

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/certpath"
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

// awsCommands returns a shell script that creates a trust anchor of the CA, and a
// role and a profile for one machine. It contains the certificate of a root. The
// certificate above an intermediate CA is a parameter: that root should be the
// trust anchor. In parentheses, the script can also be pasted.
func awsCommands(chain []*x509.Certificate) string {
	document, err := json.MarshalIndent(trustPolicy("$TRUST_ANCHOR_ARN", "$COMMON_NAME"), "", "  ")
	if err != nil {
		panic(err) // a policy consists of texts
	}
	top := chain[len(chain)-1]
	name, usage := anchorName(top.Issuer.CommonName), "sh FILE COMMON-NAME"
	certificate := "'" + strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: top.Raw}))) + "'"
	if certpath.CheckSignatureFrom(top, top) != nil {
		usage += " ROOT-CERTIFICATE-FILE"
		certificate = `$(cat "${2:?give the file with the certificate of the root CA}")`
	}
	return fmt.Sprintf(`# Creates a trust anchor of the CA, and a role and a profile for the machine whose
# certificate has this common name. Run it with: %s
# For each further machine, set TRUST_ANCHOR_ARN to the ARN that the first run printed.
(
set -eu
COMMON_NAME=${1:-${COMMON_NAME:?give the common name of the machine}}
case $COMMON_NAME in *[\"\\]*) echo "the common name contains a quotation mark or a backslash" >&2; exit 1 ;; esac
NAME=$(printf %%s "$COMMON_NAME" | LC_ALL=C tr -c 'A-Za-z0-9_-' - | cut -c1-64)
CERTIFICATE=%s

TRUST_ANCHOR_ARN=${TRUST_ANCHOR_ARN:-$(aws rolesanywhere create-trust-anchor --enabled \
    --name=%s \
    --source "sourceType=CERTIFICATE_BUNDLE,sourceData={x509CertificateData=$CERTIFICATE}" \
    --query trustAnchor.trustAnchorArn --output text)}
TRUST_POLICY=$(cat <<END
%s
END
)
ROLE_ARN=$(aws iam create-role --role-name="$NAME" \
    --assume-role-policy-document "$TRUST_POLICY" \
    --query Role.Arn --output text)
PROFILE_ARN=$(aws rolesanywhere create-profile --enabled \
    --name="$NAME" --role-arns "$ROLE_ARN" \
    --query profile.profileArn --output text)
echo "--trust-anchor-arn $TRUST_ANCHOR_ARN"
echo "--profile-arn $PROFILE_ARN"
echo "--role-arn $ROLE_ARN"
)
`, usage, certificate, front.ShellQuote(name), document)
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
