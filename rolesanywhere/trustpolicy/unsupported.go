package trustpolicy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// An UnsupportedError is the error of [Parse] for a policy that AWS may accept,
// but that this package does not evaluate.
type UnsupportedError struct {
	Statement int    // counted from 1
	What      string // such as "the operator IpAddress"
}

// Error implements error.
func (e *UnsupportedError) Error() string { return e.What + " is not supported" }

// otherOperators are the operators of AWS that this package does not evaluate,
// without ForAllValues, ForAnyValue and IfExists.
//
// Source: AWS IAM User Guide, "IAM JSON policy elements: Condition operators".
var otherOperators = []string{
	"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals",
	"DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals",
	"Bool", "BinaryEquals", "IpAddress", "NotIpAddress", "Null",
}

// unknownOperator is the error for an operator that this package does not evaluate.
func unknownOperator(name, base string) error {
	if slices.Contains(otherOperators, base) {
		return &UnsupportedError{What: "the operator " + name}
	}
	return errors.New("unknown operator")
}

// otherServices are the prefixes of condition keys of AWS in trust policies. IAM
// accepts keys of these services that do not exist.
var otherServices = []string{"aws:", "sts:", "iam:", "saml:", "ec2:", "lambda:", "kms:"}

// unknownKey is the error for a condition key that this package does not evaluate.
func unknownKey(name string) error {
	lower := strings.ToLower(name)
	isTag := strings.HasPrefix(lower, strings.ToLower(KeyPrincipalTag)) || strings.HasPrefix(lower, strings.ToLower(KeyRequestTag))
	if !isTag && slices.ContainsFunc(otherServices, func(prefix string) bool { return strings.HasPrefix(lower, prefix) && len(lower) > len(prefix) }) {
		return &UnsupportedError{What: "the key " + name}
	}
	return fmt.Errorf("unknown key %q", name)
}

// OnlyForRoles reports whether the policy names roles, accounts or users as
// principals, and no service.
func (p *Policy) OnlyForRoles() bool {
	roles := false
	for _, st := range p.statements {
		if len(st.principals.services) > 0 {
			return false
		}
		roles = roles || len(st.principals.aws) > 0 && !st.principals.any
	}
	return roles
}
