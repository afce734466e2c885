package rolesanywhere

import (
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/awsservice"
	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/signer"
)

// An arn is a parsed and checked ARN.
type arn struct {
	text, partition, region, account string
	id                               string // after the resource type; for a role, its path and name
	alias                            bool   // id is the type of a resource and its alias
}

// arnResource checks the part of an ARN after the resource type and a slash.
// Sources: IAM Roles Anywhere API Reference, GetTrustAnchor and GetProfile; IAM
// User Guide, "IAM identifiers".
var arnResource = lookup.Table[string, func(string) bool]{
	{"trust-anchor", isUUID},
	{"profile", isUUID},
	{"role", awsservice.IsRolePath},
}

// arnHint names the field and the expected form of each ARN.
var arnHint = lookup.Table[string, string]{
	{"trust-anchor", "set Config.TrustAnchorARN to an ARN of the form arn:aws:rolesanywhere:REGION:ACCOUNT:trust-anchor/ID, or with :alias/trust-anchor/NAME at the end"},
	{"profile", "set Config.ProfileARN to an ARN of the form arn:aws:rolesanywhere:REGION:ACCOUNT:profile/ID, or with :alias/profile/NAME at the end"},
	{"role", "set Config.RoleARN to an ARN of the form arn:aws:iam::ACCOUNT:role/NAME"},
}

const maxARN = 1011 // IAM Roles Anywhere API Reference, CreateSession and ImportCrl

// parseARN parses and checks the ARN s of a service and a resource type kind.
// what names the ARN in errors.
func parseARN(what, s, service, kind string) (arn, error) {
	fail := func(format string, args ...any) (arn, error) {
		return arn{}, signer.WithHint(fmt.Errorf("%s ARN %q %w", what, clip(s), fmt.Errorf(format, args...)),
			arnHint.Get(kind))
	}
	if s == "" {
		return arn{}, signer.WithHint(fmt.Errorf("no %s ARN is given", what), arnHint.Get(kind))
	}
	if len(s) > maxARN {
		return fail("is longer than %d characters", maxARN)
	}
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" {
		return fail("does not start with arn: or does not have six parts separated by colons")
	}
	a := arn{text: s, partition: parts[1], region: parts[3], account: parts[4]}
	gotKind, id, _ := strings.Cut(parts[5], "/")
	a.id, a.alias = id, service == "rolesanywhere" && gotKind == "alias"
	validID := arnResource.Get(kind)
	if a.alias {
		gotKind, id, _ = strings.Cut(id, "/")
		validID = isAlias
	}
	switch {
	case !isPartition(a.partition):
		return fail("has the invalid partition %q; a valid one is, for example, aws or aws-cn", a.partition)
	case parts[2] != service || gotKind != kind:
		return fail("is for resource type %q of service %q, not for %q of %q", clip(gotKind), clip(parts[2]), kind, service)
	case service == "iam" && a.region != "":
		return fail("contains a region; IAM ARNs have none")
	case service != "iam" && !isRegion(a.region):
		return fail("has the invalid region %q; a valid one is, for example, us-east-1", a.region)
	case len(a.account) != 12 || !all(a.account, digit):
		return fail("has the invalid account ID %q; account IDs have 12 digits", a.account)
	case a.alias && !validID(id):
		return fail("ends in %q, which is not an alias: 1 to 256 letters, digits and characters from _-/, with a letter first and single slashes in between, not aws/ at the start", clip(id))
	case !validID(id):
		return fail("ends in %q, which does not identify a %s", clip(id), kind)
	}
	if service != "iam" {
		if want := partitionOf(a.region).Name; want != a.partition {
			return fail("has partition %s, but its region belongs to partition %s", a.partition, want)
		}
	}
	return a, nil
}
