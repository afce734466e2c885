package trustpolicy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/rolesanywhere/internal/strictjson"
)

// ParsePartly is [Parse], but keeps the conditions and elements that AWS may accept
// and this package does not evaluate. The rest of the policy is evaluated.
func ParsePartly(b []byte) (*Policy, error) { return parse(b, true) }

// keeps reports whether the parser keeps the culprit of err without evaluating it.
func (p parser) keeps(err error) bool {
	var unsupported *UnsupportedError
	return p.partly && errors.As(err, &unsupported)
}

// not handles the elements NotAction and NotPrincipal. Such a statement can
// include every action and every principal.
func (p parser) not(st *statement, name string) error {
	err := &UnsupportedError{What: "the element " + name}
	if !p.partly {
		return err
	}
	st.unsupported = err.What
	if name == "NotAction" {
		st.actions = knownActions
	} else {
		st.principals.any = true
	}
	return nil
}

// keep makes c a condition that is not evaluated, because of err.
func (c *condition) keep(k strictjson.Member, err error) error {
	var unsupported *UnsupportedError
	if errors.As(err, &unsupported) {
		c.unsupported = unsupported.What
	}
	if c.texts, err = stringOrList(k.Value); err != nil { // a number or a truth value
		c.texts = []string{string(k.Value)}
	}
	return nil
}

// An UnsupportedError is the error of [Parse] and [Policy.Allows] for a policy that
// AWS may accept, but that this package does not evaluate.
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
	lower := FoldKey(name)
	if i := strings.LastIndex(name, ":"); i > 0 && i < len(name)-1 && strings.Contains(name[:i], ".") { // of an OpenID Connect provider, such as token.actions.githubusercontent.com:sub
		return &UnsupportedError{What: "the key " + name}
	}
	isTag := strings.HasPrefix(lower, FoldKey(KeyPrincipalTag)) || strings.HasPrefix(lower, FoldKey(KeyRequestTag))
	if !isTag && slices.ContainsFunc(otherServices, func(prefix string) bool { return strings.HasPrefix(lower, prefix) && len(lower) > len(prefix) }) {
		return &UnsupportedError{What: "the key " + name}
	}
	return fmt.Errorf("unknown key %q", name)
}

// Names reports whether a statement of the policy names a service as a principal.
func (p *Policy) Names(service string) bool {
	return slices.ContainsFunc(p.statements, func(st statement) bool { return slices.Contains(st.principals.services, service) })
}
