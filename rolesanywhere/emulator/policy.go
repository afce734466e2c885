package emulator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const servicePrincipal = "rolesanywhere.amazonaws.com"

// neededActions are what Roles Anywhere does to issue a session; all must be
// allowed.
var neededActions = []string{"sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"}

// knownActions are those that a trust policy can hold.
var knownActions = append([]string{
	"sts:AssumeRoleWithSAML", "sts:AssumeRoleWithWebIdentity", "sts:SetContext",
}, neededActions...)

var policyVersions = []string{"2008-10-17", "2012-10-17"}

// A policy is a role's trust policy.
//
// Source: AWS IAM User Guide, "IAM JSON policy element reference". NotAction,
// NotPrincipal and Resource are not supported, nor are set operators; what is
// not supported or not known is an error, so that no typo is taken for a rule.
type policy struct{ statements []statement }

type statement struct {
	deny       bool
	principal  bool     // of Roles Anywhere
	actions    []string // of neededActions
	conditions []condition
}

func loadPolicy(cfg Role) (*policy, error) {
	switch {
	case cfg.TrustPolicy != "" && cfg.TrustPolicyFile != "":
		return nil, errors.New("both inline and in a file")
	case cfg.TrustPolicy != "":
		return parsePolicy([]byte(cfg.TrustPolicy))
	case cfg.TrustPolicyFile != "":
		b, err := readFile(cfg.TrustPolicyFile, maxFile)
		if err != nil {
			return nil, err
		}
		p, err := parsePolicy(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cfg.TrustPolicyFile, err)
		}
		return p, nil
	}
	return nil, nil
}

func parsePolicy(b []byte) (*policy, error) {
	all, err := members(b)
	if err != nil {
		return nil, err
	}
	version := policyVersions[0] // without Version
	var statements []byte
	for _, m := range all {
		switch m.name {
		case "Version":
			version, err = parseString(m.value)
			if err == nil && !slices.Contains(policyVersions, version) {
				err = fmt.Errorf("unknown version %q", version)
			}
		case "Id":
			_, err = parseString(m.value)
		case "Statement":
			statements = m.value
		default:
			err = errors.New("unknown element")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	p := new(policy)
	for i, raw := range elements(statements) {
		// Policy variables came with the newer version.
		st, err := parseStatement(raw, version != policyVersions[0])
		if err != nil {
			return nil, fmt.Errorf("statement %d: %w", i+1, err)
		}
		p.statements = append(p.statements, st)
	}
	if len(p.statements) == 0 {
		return nil, errors.New("no statement")
	}
	return p, nil
}

func parseStatement(b []byte, variables bool) (statement, error) {
	all, err := members(b)
	if err != nil {
		return statement{}, err
	}
	var st statement
	missing := map[string]bool{"Effect": true, "Principal": true, "Action": true}
	for _, m := range all {
		delete(missing, m.name)
		switch m.name {
		case "Sid":
			_, err = parseString(m.value)
		case "Effect":
			var effect string
			effect, err = parseString(m.value)
			st.deny = effect == "Deny"
			if err == nil && effect != "Allow" && effect != "Deny" {
				err = fmt.Errorf("%q is neither Allow nor Deny", effect)
			}
		case "Principal":
			st.principal, err = parsePrincipal(m.value)
		case "Action":
			st.actions, err = parseActions(m.value)
		case "Condition":
			st.conditions, err = parseConditions(m.value, variables)
		default:
			err = errors.New("unknown element")
		}
		if err != nil {
			return statement{}, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	for _, name := range []string{"Effect", "Principal", "Action"} {
		if missing[name] {
			return statement{}, fmt.Errorf("no %s", name)
		}
	}
	return st, nil
}

// parsePrincipal reports whether the element stands for Roles Anywhere.
// Principals of other types are allowed, but none of them is it, save the star
// that stands for everybody.
func parsePrincipal(b []byte) (bool, error) {
	if isString(b) {
		s, err := parseString(b)
		if err == nil && s != "*" {
			err = fmt.Errorf("%q is not a principal", s)
		}
		return true, err
	}
	all, err := members(b)
	if err != nil {
		return false, err
	}
	matches := false
	for _, m := range all {
		values, err := stringOrList(m.value)
		if err != nil {
			return false, fmt.Errorf("%s: %w", m.name, err)
		}
		switch m.name {
		case "Service":
			for _, v := range values {
				if v != "*" && !isService(v) {
					return false, fmt.Errorf("%q is not a service", v)
				}
			}
			matches = matches || slices.Contains(values, servicePrincipal) || slices.Contains(values, "*")
		case "AWS":
			matches = matches || slices.Contains(values, "*")
		case "Federated", "CanonicalUser":
		default:
			return false, fmt.Errorf("unknown type %q", m.name)
		}
	}
	if len(all) == 0 {
		return false, errors.New("is empty")
	}
	return matches, nil
}

// parseActions returns the needed actions that the element stands for. Names
// of actions have no case.
func parseActions(b []byte) ([]string, error) {
	values, err := stringOrList(b)
	if err != nil {
		return nil, err
	}
	var needed []string
	for _, v := range values {
		p := literalGlob(strings.ToLower(v))
		known := false
		for _, action := range knownActions {
			if glob(p, []rune(strings.ToLower(action))) {
				known = true
				if slices.Contains(neededActions, action) {
					needed = append(needed, action)
				}
			}
		}
		if !known {
			return nil, fmt.Errorf("unknown action %q", v)
		}
	}
	return needed, nil
}

// allows returns nil if every needed action is allowed and none denied.
func (p *policy) allows(ctx map[string]string) error {
	for _, action := range neededActions {
		allowed := false
		for _, st := range p.statements {
			if !st.principal || !slices.Contains(st.actions, action) || !holds(st.conditions, ctx) {
				continue
			}
			if st.deny {
				return fmt.Errorf("trust policy denies %s", action)
			}
			allowed = true
		}
		if !allowed {
			return fmt.Errorf("trust policy does not allow %s", action)
		}
	}
	return nil
}
