// Package trustpolicy evaluates the trust policies of IAM roles, and maps
// certificates to the session tags and the source identity that IAM Roles
// Anywhere gives their sessions. It makes no requests. All functions are safe
// for concurrent use.
package trustpolicy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/rolesanywhere/internal/strictjson"
)

// The actions of STS that give a session of a role.
const (
	AssumeRole        = "sts:AssumeRole"
	TagSession        = "sts:TagSession"
	SetSourceIdentity = "sts:SetSourceIdentity"
)

// RolesAnywhereActions returns the actions that Roles Anywhere performs to issue
// a session. The trust policy must allow all of them.
func RolesAnywhereActions() []string { return []string{AssumeRole, TagSession, SetSourceIdentity} }

// knownActions are the actions that a trust policy can contain.
var knownActions = []string{
	"sts:AssumeRoleWithSAML", "sts:AssumeRoleWithWebIdentity", "sts:SetContext", AssumeRole, TagSession, SetSourceIdentity,
}

var policyVersions = []string{"2008-10-17", "2012-10-17"}

// A Policy is a role's trust policy. It is immutable.
//
// Source: AWS IAM User Guide, "IAM JSON policy element reference". NotAction,
// NotPrincipal and Resource are not supported. An unsupported or unknown element
// is an error, so that a typo does not change the meaning of a policy. For what AWS
// accepts, see [ParsePartly].
type Policy struct{ statements []statement }

type statement struct {
	sid        string
	deny       bool
	principals principals
	actions    []string // a subset of knownActions
	conditions []condition

	unsupported string // an element that is not evaluated; "": none
}

// A Request is what a policy decides about: whether Principal may perform all
// Actions. Actions are the constants of this package.
type Request struct {
	Principal Principal
	Actions   []string
	Context   Context
}

// Parse parses a policy document in JSON. If AWS accepts the policy, but this
// package does not evaluate a part of it, the error is an [*UnsupportedError].
func Parse(b []byte) (*Policy, error) { return parse(b, false) }

func parse(b []byte, partly bool) (*Policy, error) {
	all, err := strictjson.Members(b)
	if err != nil {
		return nil, err
	}
	version := policyVersions[0] // the default
	var statements []byte
	for _, m := range all {
		switch m.Name {
		case "Version":
			version, err = parseString(m.Value)
			if err == nil && !slices.Contains(policyVersions, version) {
				err = fmt.Errorf("unknown version %q", version)
			}
		case "Id":
			_, err = parseString(m.Value)
		case "Statement":
			statements = m.Value
		default:
			err = errors.New("unknown element")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	p := new(Policy)
	for i, raw := range elements(statements) {
		// Only the newer version has policy variables.
		st, err := parser{version != policyVersions[0], partly}.statement(raw)
		if err != nil {
			var unsupported *UnsupportedError
			if errors.As(err, &unsupported) {
				unsupported.Statement = i + 1
			}
			return nil, fmt.Errorf("statement %d: %w", i+1, err)
		}
		p.statements = append(p.statements, st)
	}
	if len(p.statements) == 0 {
		return nil, errors.New("no Statement")
	}
	return p, nil
}

// A parser has the properties of a document.
type parser struct {
	variables bool // it has policy variables
	partly    bool // what is not evaluated is kept as such
}

func (p parser) statement(b []byte) (statement, error) {
	all, err := strictjson.Members(b)
	if err != nil {
		return statement{}, err
	}
	var st statement
	missing := map[string]bool{"Effect": true, "Principal": true, "Action": true}
	for _, m := range all {
		delete(missing, m.Name)
		switch m.Name {
		case "Sid":
			st.sid, err = parseString(m.Value)
		case "Effect":
			var effect string
			effect, err = parseString(m.Value)
			st.deny = effect == "Deny"
			if err == nil && effect != "Allow" && effect != "Deny" {
				err = fmt.Errorf("%q is neither Allow nor Deny", effect)
			}
		case "Principal":
			st.principals, err = parsePrincipals(m.Value)
		case "Action":
			st.actions, err = parseActions(m.Value)
		case "Condition":
			st.conditions, err = p.conditions(m.Value)
		case "NotAction", "NotPrincipal":
			delete(missing, strings.TrimPrefix(m.Name, "Not"))
			err = p.not(&st, m.Name)
		default:
			err = errors.New("unknown element")
		}
		if err != nil {
			return statement{}, fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	for _, name := range []string{"Effect", "Principal", "Action"} {
		if missing[name] {
			return statement{}, fmt.Errorf("no %s", name)
		}
	}
	return st, nil
}

// parseActions returns the known actions that an Action element includes. Action
// names are not case-sensitive.
func parseActions(b []byte) ([]string, error) {
	values, err := stringOrList(b)
	if err != nil {
		return nil, err
	}
	var included []string
	for _, v := range values {
		p := literalGlob(strings.ToLower(v))
		known := false
		for _, action := range knownActions {
			if glob(p, []rune(strings.ToLower(action))) {
				known = true
				included = append(included, action)
			}
		}
		if !known {
			return nil, fmt.Errorf("unknown action %q", v)
		}
	}
	return included, nil
}

// A DeniedError is the error of [Policy.Allows].
type DeniedError struct {
	Action   string // the first action that is not allowed
	Explicit bool   // a statement denies it
}

// Error implements error.
func (e *DeniedError) Error() string {
	if e.Explicit {
		return "trust policy denies " + e.Action
	}
	return "trust policy does not allow " + e.Action
}

// Allows returns nil if the policy allows every action of r and denies none.
// Otherwise it returns a [*DeniedError], or for a policy of [ParsePartly] an
// [*UnsupportedError] if the answer depends on what is not evaluated.
func (p *Policy) Allows(r Request) error {
	results := p.Explain(r)
	var open *UnsupportedError // decides about an action
	for _, action := range r.Actions {
		allowed := false
		var may *UnsupportedError // decides whether a statement allows the action
		for _, s := range results {
			unsupported, applies := s.applies()
			switch {
			case !applies || !slices.Contains(s.Actions, action):
			case s.Deny && unsupported == nil:
				return &DeniedError{action, true}
			case s.Deny:
				open = cmp.Or(open, unsupported)
			case unsupported == nil:
				allowed = true
			default:
				may = cmp.Or(may, unsupported)
			}
		}
		switch {
		case allowed:
		case may == nil:
			return &DeniedError{action, false}
		default:
			open = cmp.Or(open, may)
		}
	}
	if open != nil {
		return open
	}
	return nil
}

// A StatementResult says how a statement applies to a request.
type StatementResult struct {
	Number    int    // of the statement, counted from 1
	Sid       string // "": none
	Deny      bool
	Principal bool     // the statement includes the principal of the request
	Actions   []string // of the request that the statement includes

	Conditions []ConditionResult // in the order of the document

	Unsupported string // an element that is not evaluated, such as "the element NotAction"; "": none
}

// Applies reports whether the statement applies to the request: it includes the
// principal, and all conditions are met. Of a policy of [ParsePartly], all parts
// of the statement must be evaluated.
func (s StatementResult) Applies() bool {
	unsupported, applies := s.applies()
	return applies && unsupported == nil
}

// applies reports whether all parts of the statement that are evaluated apply, and
// returns the first one that is not evaluated, if there is one.
func (s StatementResult) applies() (unsupported *UnsupportedError, applies bool) {
	if s.Unsupported != "" {
		unsupported = &UnsupportedError{s.Number, s.Unsupported}
	}
	for _, c := range s.Conditions {
		switch {
		case c.Unsupported != "":
			unsupported = cmp.Or(unsupported, &UnsupportedError{s.Number, c.Unsupported})
		case !c.Met:
			return nil, false
		}
	}
	return unsupported, s.Principal
}

// Explain returns how each statement of the policy applies to r.
func (p *Policy) Explain(r Request) []StatementResult {
	results := make([]StatementResult, len(p.statements))
	for i, st := range p.statements {
		s := StatementResult{Number: i + 1, Sid: st.sid, Deny: st.deny, Principal: st.principals.include(r.Principal), Unsupported: st.unsupported}
		for _, action := range r.Actions {
			if slices.Contains(st.actions, action) {
				s.Actions = append(s.Actions, action)
			}
		}
		for _, c := range st.conditions {
			s.Conditions = append(s.Conditions, c.evaluate(r.Context))
		}
		results[i] = s
	}
	return results
}
