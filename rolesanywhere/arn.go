package rolesanywhere

import (
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

// An arn is one of the three that a request names, checked.
type arn struct {
	text, partition, region, account string
	id                               string // behind the kind of resource; for a role its path and name
}

// arnResource checks what follows the kind of a resource and a slash. Sources:
// IAM Roles Anywhere API Reference, GetTrustAnchor and GetProfile; IAM User
// Guide, "IAM identifiers".
var arnResource = map[string]func(string) bool{
	"trust-anchor": isUUID,
	"profile":      isUUID,
	"role":         isRolePath,
}

// arnForm shows a person what was expected.
var arnForm = map[string]string{
	"trust-anchor": "arn:aws:rolesanywhere:REGION:ACCOUNT:trust-anchor/ID",
	"profile":      "arn:aws:rolesanywhere:REGION:ACCOUNT:profile/ID",
	"role":         "arn:aws:iam::ACCOUNT:role/NAME",
}

const maxARN = 1011 // IAM Roles Anywhere API Reference, CreateSession and ImportCrl

// parseARN checks the ARN of a resource of a kind; what is its name for people.
func parseARN(what, s, service, kind string) (arn, error) {
	fail := func(format string, args ...any) (arn, error) {
		return arn{}, signer.WithHint(fmt.Errorf("%s ARN %q %w", what, clip(s), fmt.Errorf(format, args...)),
			"it has the form "+arnForm[kind])
	}
	if s == "" {
		return arn{}, signer.WithHint(fmt.Errorf("no %s ARN is given", what), "it has the form "+arnForm[kind])
	}
	if len(s) > maxARN {
		return fail("is longer than %d characters", maxARN)
	}
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" {
		return fail("is not an ARN of six parts")
	}
	a := arn{text: s, partition: parts[1], region: parts[3], account: parts[4]}
	gotKind, id, _ := strings.Cut(parts[5], "/")
	a.id = id
	switch {
	case !isPartition(a.partition):
		return fail("has the partition %q, which is not one like aws or aws-cn", a.partition)
	case parts[2] != service || gotKind != kind:
		return fail("names a %q of %q, not a %q of %q", clip(gotKind), clip(parts[2]), kind, service)
	case service == "iam" && a.region != "":
		return fail("has a region, which IAM has not")
	case service != "iam" && !isRegion(a.region):
		return fail("has the region %q, which is not one like us-east-1", a.region)
	case len(a.account) != 12 || !all(a.account, digit):
		return fail("has the account %q instead of twelve digits", a.account)
	case !arnResource[kind](id):
		return fail("ends in %q, which cannot be a %s", clip(id), kind)
	}
	if service != "iam" {
		if want := partitionOf(a.region).name; want != a.partition {
			return fail("has the partition %s, but its region belongs to %s", a.partition, want)
		}
	}
	return a, nil
}

func clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}
