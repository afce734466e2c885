package emulator

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// The limits of the service model of IAM Roles Anywhere. Older versions of the model have
// 50 roles and tags.
//
// Source: botocore 1.43, data/rolesanywhere. The AWS SDK for Go contains no limits.
const (
	maxName          = 255
	maxResourceTags  = 200
	maxProfileRoles  = 250
	maxCertificates  = 16_000 // bytes
	maxSettings      = 50
	maxPolicyARNs    = 50
	maxPolicyARN     = 200
	maxSessionPolicy = 100_000
)

// checkName checks the name of a resource of IAM Roles Anywhere.
func checkName(name string) error {
	switch {
	case name == "":
		return missing("name")
	case len(name) > maxName:
		return tooLong("name", maxName)
	case !consistsOf(name, func(c rune) bool {
		return isLower(c) || 'A' <= c && c <= 'Z' || isDigit(c) || strings.ContainsRune(" -_", c)
	}):
		return constraint("name", "Member must satisfy regular expression pattern: ^[ a-zA-Z0-9-_]*$")
	}
	return nil
}

// constraint is the error about a member that violates the service model.
func constraint(name, rule string) *refusal {
	return refuse(codeValidation, msgSTSConstraint, name, rule)
}

func missing(name string) *refusal { return refuse(codeValidation, msgParameter, name, "is missing") }

func tooLong(name string, most int) *refusal {
	return constraint(name, fmt.Sprintf("Member must have length less than or equal to %d", most))
}

func between(name string, v, low, high int) error {
	if v < low || v > high {
		return constraint(name, fmt.Sprintf("Member must have value between %d and %d", low, high))
	}
	return nil
}

func oneOf(name, v string, allowed []string) error {
	if !slices.Contains(allowed, v) {
		return constraint(name, fmt.Sprintf("Member must satisfy enum value set: [%s]", strings.Join(allowed, ", ")))
	}
	return nil
}

// addTags returns tags with more ones, which it checks.
func addTags(tags map[string]string, more []tag) (map[string]string, error) {
	if len(more) > maxResourceTags {
		return nil, tooLong("tags", maxResourceTags)
	}
	if len(more) == 0 {
		return tags, nil
	}
	all := maps.Clone(tags)
	if all == nil {
		all = make(map[string]string)
	}
	given := make(map[string]bool)
	for _, t := range more {
		if err := checkTag(t); err != nil {
			return nil, err
		}
		if given[t.Key] {
			return nil, refuse(codeValidation, msgParameter, "tags", "contain the key "+t.Key+" twice")
		}
		given[t.Key] = true
		all[t.Key] = t.Value
	}
	if len(all) > maxResourceTags {
		return nil, refuse(codeTooManyTags, msgTooManyTags, maxResourceTags)
	}
	return all, nil
}

func isTagCharacter(c rune) bool {
	return isLower(c) || 'A' <= c && c <= 'Z' || isDigit(c) || strings.ContainsRune(" _.:/=+@-", c)
}

func checkTagKey(key string) error {
	if len(key) > 128 || !consistsOf(key, isTagCharacter) {
		return constraint("tags.key", "Member must satisfy regular expression pattern: ^[ a-zA-Z0-9_.:/=+@-]*$, with 1 to 128 characters")
	}
	return nil
}

func checkTag(t tag) error {
	if err := checkTagKey(t.Key); err != nil {
		return err
	}
	switch {
	case len(t.Value) > 256 || t.Value != "" && !consistsOf(t.Value, isTagCharacter):
		return constraint("tags.value", "Member must satisfy regular expression pattern: ^[ a-zA-Z0-9_.:/=+@-]*$, with at most 256 characters")
	case strings.HasPrefix(strings.ToLower(t.Key), "aws:"):
		return refuse(codeValidation, msgSTSTagReserved)
	}
	return nil
}

// checkRoleARNs checks the roles of a profile. As with AWS, they need not exist yet, but
// must belong to the account: iam:PassRole cannot pass others.
func (s *Server) checkRoleARNs(arns []string) error {
	if len(arns) > maxProfileRoles {
		return tooLong("roleArns", maxProfileRoles)
	}
	for _, v := range arns {
		role, err := s.ownARN(v, "role")
		switch {
		case err != nil:
			return refuse(codeValidation, msgParameter, "roleArns", err)
		case role.account != s.account:
			return refuse(codeAccessDenied, msgSTSDenied, s.admin.User.ARN, "iam:PassRole", v).because(
				fmt.Errorf("the role does not belong to account %s of the profile", s.account))
		}
	}
	return nil
}

func checkPolicyARNs(arns []string) error {
	if len(arns) > maxPolicyARNs {
		return tooLong("managedPolicyArns", maxPolicyARNs)
	}
	for _, v := range arns {
		if !isPolicyARN(v) || len(v) > maxPolicyARN {
			return refuse(codeValidation, msgParameter, "managedPolicyArns", fmt.Sprintf("%q is not the ARN of a policy", clip(v)))
		}
	}
	return nil
}

// isPolicyARN reports whether v has the form of the ARN of a managed policy.
func isPolicyARN(v string) bool {
	parts := strings.SplitN(v, ":", 6)
	return len(parts) == 6 && parts[0] == "arn" && isPartition(parts[1]) && parts[2] == "iam" && parts[3] == "" &&
		(parts[4] == "aws" || isAccount(parts[4])) && strings.HasPrefix(parts[5], "policy/") && !strings.HasSuffix(parts[5], "/")
}

func checkSessionPolicy(v string) error {
	if len(v) > maxSessionPolicy {
		return tooLong("sessionPolicy", maxSessionPolicy)
	}
	if v != "" && (!utf8.ValidString(v) || !json.Valid([]byte(v))) {
		return refuse(codeValidation, msgParameter, "sessionPolicy", "is not JSON")
	}
	return nil
}
