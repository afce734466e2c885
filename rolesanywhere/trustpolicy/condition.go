package trustpolicy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/rolesanywhere/internal/strictjson"
)

// A condition is one operator and one key of a Condition element.
type condition struct {
	operator
	name   string // of the operator, as in the document
	key    string // as in a Context
	shown  string // the key as in the document
	texts  []string
	values []pattern

	unsupported string // what is not evaluated; "": nothing
}

type operator struct {
	match    func(p []token, value string) bool
	negated  bool // true if no value matches
	ifExists bool // true if the key is missing
	set      set
}

// A set says how an operator treats a key that can have several values.
type set int

const (
	single    set = iota // also for a key with several values, of which one must match
	anyValue             // ForAnyValue: false if the key is missing
	allValues            // ForAllValues: true if the key is missing
)

var sets = lookup.Table[string, set]{{"ForAnyValue", anyValue}, {"ForAllValues", allValues}}

// operators holds the operators for strings and ARNs. ArnEquals is the same as
// ArnLike.
//
// Source: AWS IAM User Guide, "IAM JSON policy elements: Condition operators".
var operators = lookup.Table[string, operator]{
	{"StringEquals", operator{match: matchExact}},
	{"StringNotEquals", operator{match: matchExact, negated: true}},
	{"StringEqualsIgnoreCase", operator{match: matchFold}},
	{"StringNotEqualsIgnoreCase", operator{match: matchFold, negated: true}},
	{"StringLike", operator{match: matchLike}},
	{"StringNotLike", operator{match: matchLike, negated: true}},
	{"ArnEquals", operator{match: matchARN}},
	{"ArnNotEquals", operator{match: matchARN, negated: true}},
	{"ArnLike", operator{match: matchARN}},
	{"ArnNotLike", operator{match: matchARN, negated: true}},
}

func parseOperator(name string) (operator, error) {
	var s set
	if prefix, rest, found := strings.Cut(name, ":"); found {
		if s = sets.Get(prefix); s == single {
			return operator{}, errors.New("unknown operator")
		}
		name = rest
	}
	base, ifExists := strings.CutSuffix(name, "IfExists")
	op, ok := operators.Find(base)
	if !ok {
		return operator{}, unknownOperator(name, base)
	}
	op.ifExists, op.set = ifExists, s
	return op, nil
}

// The condition keys of a request, without case. The last two are prefixes of
// the keys of tags.
const (
	KeySourceArn         = "aws:SourceArn"         // the trust anchor
	KeySourceAccount     = "aws:SourceAccount"     // of the trust anchor
	KeyPrincipalArn      = "aws:PrincipalArn"      // the role whose session calls, or the user
	KeyPrincipalAccount  = "aws:PrincipalAccount"  // of that role or user
	KeyOwnSourceIdentity = "aws:SourceIdentity"    // of the session that calls
	KeySourceIdentity    = "sts:SourceIdentity"    // that the request sets
	KeyRoleSessionName   = "sts:RoleSessionName"   // that the request sets
	KeyExternalID        = "sts:ExternalId"        // in the request
	KeyTransitiveTagKeys = "sts:TransitiveTagKeys" // in the request; several
	KeyTagKeys           = "aws:TagKeys"           // in the request; several

	KeyPrincipalTag = "aws:PrincipalTag/" // and the key of a tag of the session that calls
	KeyRequestTag   = "aws:RequestTag/"   // and the key of a tag in the request
)

var knownKeys = []string{
	KeySourceArn, KeySourceAccount, KeyPrincipalArn, KeyPrincipalAccount, KeyOwnSourceIdentity,
	KeySourceIdentity, KeyRoleSessionName, KeyExternalID, KeyTransitiveTagKeys, KeyTagKeys,
}

// A Context has the values of the condition keys of a request. The keys are those
// that [FoldKey] returns; see [Context.Set].
type Context map[string][]string

// FoldKey returns the same string for the keys of tags or conditions that are the
// same, because their case does not matter. AWS does not document how it folds
// letters outside ASCII. Unlike [strings.EqualFold], FoldKey folds İ to i, but not ſ
// to s. So whoever compares keys has to use this function.
func FoldKey(key string) string { return strings.ToLower(key) }

func sameKey(a, b string) bool { return FoldKey(a) == FoldKey(b) }

// Set sets a key, whose case does not matter, to values. Without any it has no
// effect.
func (c Context) Set(key string, values ...string) {
	if len(values) > 0 {
		c[FoldKey(key)] = values
	}
}

// SetTags sets the keys that consist of a prefix and the key of a tag. It overwrites no
// key. STS refuses tags whose keys are the same; of those the first in the order of
// strings counts.
func (c Context) SetTags(prefix string, tags map[string]string) {
	for _, tag := range slices.Sorted(maps.Keys(tags)) {
		if _, isSet := c[FoldKey(prefix+tag)]; !isSet {
			c.Set(prefix+tag, tags[tag])
		}
	}
}

// CreateSession returns the request to STS that Roles Anywhere makes for a
// session with a name, tags and a source identity; see [SessionTags] and
// [SourceIdentity]. account is the account of the trust anchor.
func CreateSession(anchorARN, account, source, name string, tags map[string]string) Request {
	ctx := make(Context)
	ctx.Set(KeySourceArn, anchorARN)
	ctx.Set(KeySourceAccount, account)
	ctx.Set(KeySourceIdentity, source)
	ctx.Set(KeyRoleSessionName, name)
	ctx.SetTags(KeyPrincipalTag, tags)
	ctx.SetTags(KeyRequestTag, tags)
	return Request{Principal: Principal{Service: RolesAnywhere}, Actions: RolesAnywhereActions(), Context: ctx}
}

// parseKey returns the key as it is in a [Context].
func parseKey(name string) (string, error) {
	key := FoldKey(name)
	if slices.ContainsFunc(knownKeys, func(known string) bool { return sameKey(known, key) }) {
		return key, nil
	}
	for _, prefix := range []string{KeyPrincipalTag, KeyRequestTag} {
		if tag, ok := strings.CutPrefix(key, FoldKey(prefix)); ok && knownTag(tag) {
			return key, nil
		}
	}
	return "", unknownKey(name)
}

func (p parser) conditions(b []byte) ([]condition, error) {
	byOperator, err := strictjson.Members(b)
	if err != nil {
		return nil, err
	}
	var all []condition
	for _, o := range byOperator {
		op, opErr := parseOperator(o.Name)
		if err := opErr; err != nil && !p.keeps(err) {
			return nil, fmt.Errorf("%s: %w", o.Name, err)
		}
		byKey, err := strictjson.Members(o.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Name, err)
		}
		if len(byKey) == 0 {
			return nil, fmt.Errorf("%s: no key", o.Name)
		}
		for _, k := range byKey {
			c := condition{operator: op, name: o.Name, shown: k.Name}
			if opErr == nil {
				err = c.parse(k, p.variables)
			} else if _, err = parseKey(k.Name); err == nil || p.keeps(err) { // its values can have other types
				err = opErr
			}
			if p.keeps(err) {
				err = c.keep(k, err)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", o.Name, err)
			}
			all = append(all, c)
		}
	}
	return all, nil
}

// parse parses the key and the values of a condition.
func (c *condition) parse(k strictjson.Member, variables bool) (err error) {
	if c.key, err = parseKey(k.Name); err != nil {
		return err
	}
	if c.texts, err = stringOrList(k.Value); err != nil {
		return fmt.Errorf("%s: %w", k.Name, err)
	}
	for _, v := range c.texts {
		p, err := parsePattern(v, variables)
		if err == nil && strings.Contains(c.name, "Arn") {
			err = p.checkARN()
		}
		if err != nil {
			return fmt.Errorf("%s: %q: %w", k.Name, v, err)
		}
		c.values = append(c.values, p)
	}
	return nil
}

// A ConditionResult says whether a condition is met by a request.
type ConditionResult struct {
	Operator, Key string   // as in the document
	Want          []string // the values in the document
	Got           []string // the values of the key in the request; nil: it has none
	Met           bool

	Unsupported string // what is not evaluated, such as "the operator IpAddress"; then Met is false; "": nothing
}

func (c condition) evaluate(ctx Context) ConditionResult {
	if c.unsupported != "" {
		return ConditionResult{Operator: c.name, Key: c.shown, Want: slices.Clone(c.texts), Unsupported: c.unsupported}
	}
	return ConditionResult{Operator: c.name, Key: c.shown, Want: slices.Clone(c.texts), Got: slices.Clone(ctx[c.key]), Met: c.holds(ctx)}
}

// holds reports whether the condition is met. If the key is missing, it is met
// if the operator is ForAllValues, is negated or has the suffix IfExists.
func (c condition) holds(ctx Context) bool {
	values, ok := ctx[c.key]
	if !ok {
		return c.set == allValues || c.ifExists || c.negated && c.set == single
	}
	matches := func(value string) bool { return c.matches(ctx, value) }
	switch c.set {
	case allValues:
		return !slices.ContainsFunc(values, func(v string) bool { return !matches(v) })
	default:
		return slices.ContainsFunc(values, matches)
	}
}

// matches reports whether the operator is true for one value of the key.
func (c condition) matches(ctx Context, value string) bool {
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

// String says what the condition requires, and if it is not met, what the request has,
// in words.
func (c ConditionResult) String() string {
	key, has := c.Key, "the request"
	for _, prefix := range []string{KeyPrincipalTag, KeyRequestTag} {
		if len(key) > len(prefix) && sameKey(key[:len(prefix)], prefix) && strings.HasPrefix(FoldKey(key[len(prefix):]), "x509") {
			key, has = key[len(prefix):], "the certificate"
		}
	}
	relation, known := map[string]string{"StringEquals": " = ", "StringNotEquals": " ≠ ", "ArnEquals": " = ", "ArnNotEquals": " ≠ "}[c.Operator]
	if !known {
		relation = " " + c.Operator + " "
	}
	text := "requires " + key + relation + strings.Join(c.Want, " or ")
	switch name := key[strings.LastIndex(key, "/")+1:]; {
	case c.Met, c.Unsupported != "":
		return text
	case len(c.Got) == 0:
		return text + "; " + has + " has no " + name
	}
	return text + "; " + has + " has " + strings.Join(c.Got, ", ")
}
