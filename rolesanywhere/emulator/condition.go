package emulator

import (
	"errors"
	"fmt"
	"strings"
)

// A condition is one operator and one key of a Condition element.
type condition struct {
	operator
	key    string // in lower case, because key names are not case-sensitive
	values []pattern
}

type operator struct {
	match    func(p []token, value string) bool
	negated  bool // true if no value matches
	ifExists bool // true if the key is missing
}

// operators holds the operators for strings and ARNs. ArnEquals is the same as
// ArnLike.
//
// Source: AWS IAM User Guide, "IAM JSON policy elements: Condition operators".
var operators = map[string]operator{
	"StringEquals":              {match: matchExact},
	"StringNotEquals":           {match: matchExact, negated: true},
	"StringEqualsIgnoreCase":    {match: matchFold},
	"StringNotEqualsIgnoreCase": {match: matchFold, negated: true},
	"StringLike":                {match: matchLike},
	"StringNotLike":             {match: matchLike, negated: true},
	"ArnEquals":                 {match: matchARN},
	"ArnNotEquals":              {match: matchARN, negated: true},
	"ArnLike":                   {match: matchARN},
	"ArnNotLike":                {match: matchARN, negated: true},
}

func parseOperator(name string) (operator, error) {
	base, ifExists := strings.CutSuffix(name, "IfExists")
	op, ok := operators[base]
	if !ok {
		return operator{}, errors.New("unknown operator")
	}
	op.ifExists = ifExists
	return op, nil
}

// The condition keys of a request. The last two are prefixes of the tag names.
const (
	keySourceArn       = "aws:sourcearn"
	keySourceAccount   = "aws:sourceaccount"
	keySourceIdentity  = "sts:sourceidentity"
	keyRoleSessionName = "sts:rolesessionname"
	keyPrincipalTag    = "aws:principaltag/"
	keyRequestTag      = "aws:requesttag/"
)

func requestContext(anchorARN, account, source, name string, tags map[string]string) map[string]string {
	ctx := map[string]string{
		keySourceArn:       anchorARN,
		keySourceAccount:   account,
		keySourceIdentity:  source,
		keyRoleSessionName: name,
	}
	for k, v := range tags {
		ctx[keyPrincipalTag+strings.ToLower(k)] = v
		ctx[keyRequestTag+strings.ToLower(k)] = v
	}
	return ctx
}

// parseKey returns the key in lower case.
func parseKey(name string) (string, error) {
	key := strings.ToLower(name)
	switch key {
	case keySourceArn, keySourceAccount, keySourceIdentity, keyRoleSessionName:
		return key, nil
	}
	for _, prefix := range []string{keyPrincipalTag, keyRequestTag} {
		if tag, ok := strings.CutPrefix(key, prefix); ok && knownTag(tag) {
			return key, nil
		}
	}
	return "", fmt.Errorf("unknown key %q", name)
}

func parseConditions(b []byte, variables bool) ([]condition, error) {
	byOperator, err := members(b)
	if err != nil {
		return nil, err
	}
	var all []condition
	for _, o := range byOperator {
		op, err := parseOperator(o.name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.name, err)
		}
		byKey, err := members(o.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.name, err)
		}
		if len(byKey) == 0 {
			return nil, fmt.Errorf("%s: no key", o.name)
		}
		for _, k := range byKey {
			c := condition{operator: op}
			if c.key, err = parseKey(k.name); err != nil {
				return nil, fmt.Errorf("%s: %w", o.name, err)
			}
			values, err := stringOrList(k.value)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", o.name, k.name, err)
			}
			for _, v := range values {
				p, err := parsePattern(v, variables)
				if err == nil && strings.HasPrefix(o.name, "Arn") {
					err = p.checkARN()
				}
				if err != nil {
					return nil, fmt.Errorf("%s: %s: %q: %w", o.name, k.name, v, err)
				}
				c.values = append(c.values, p)
			}
			all = append(all, c)
		}
	}
	return all, nil
}

func holds(conditions []condition, ctx map[string]string) bool {
	for _, c := range conditions {
		if !c.holds(ctx) {
			return false
		}
	}
	return true
}

// holds reports whether the condition is met. If the key is missing, it is met
// if the operator is negated or has the suffix IfExists.
func (c condition) holds(ctx map[string]string) bool {
	value, ok := ctx[c.key]
	if !ok {
		return c.negated || c.ifExists
	}
	matched := false
	for _, p := range c.values {
		tokens, ok := p.resolve(ctx)
		if !ok {
			return false // the statement does not apply if a variable has no value
		}
		matched = matched || c.match(tokens, value)
	}
	return matched != c.negated
}
