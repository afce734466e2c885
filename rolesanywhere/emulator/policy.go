package emulator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const servicePrincipal = "rolesanywhere.amazonaws.com"

// requiredActions are the actions that Roles Anywhere performs to issue a
// session. The trust policy must allow all of them.
var requiredActions = []string{"sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"}

// knownActions are the actions that a trust policy can contain.
var knownActions = append([]string{
	"sts:AssumeRoleWithSAML", "sts:AssumeRoleWithWebIdentity", "sts:SetContext",
}, requiredActions...)

var policyVersions = []string{"2008-10-17", "2012-10-17"}

// A policy is a role's trust policy.
//
// Source: AWS IAM User Guide, "IAM JSON policy element reference". NotAction,
// NotPrincipal, Resource and set operators are not supported. An unsupported or
// unknown element is an error, so that a typo does not change the meaning of a
// policy.
type policy struct{ statements []statement }

type statement struct {
	deny       bool
	principal  bool     // includes Roles Anywhere
	actions    []string // a subset of requiredActions
	conditions []condition
}

func loadPolicy(cfg Role) (*policy, error) {
	switch {
	case cfg.TrustPolicy != "" && cfg.TrustPolicyFile != "":
		return nil, errors.New("given both inline and as a file")
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
	version := policyVersions[0] // the default
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
		// Only the newer version has policy variables.
		st, err := parseStatement(raw, version != policyVersions[0])
		if err != nil {
			return nil, fmt.Errorf("statement %d: %w", i+1, err)
		}
		p.statements = append(p.statements, st)
	}
	if len(p.statements) == 0 {
		return nil, errors.New("no Statement")
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

// parsePrincipal reports whether a Principal element includes Roles Anywhere.
// It accepts the other types of principals; of these, only AWS with the value
// "*" includes it.
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
		return false, errors.New("empty")
	}
	return matches, nil
}

// parseActions returns the required actions that an Action element includes.
// Action names are not case-sensitive.
func parseActions(b []byte) ([]string, error) {
	values, err := stringOrList(b)
	if err != nil {
		return nil, err
	}
	var required []string
	for _, v := range values {
		p := literalGlob(strings.ToLower(v))
		known := false
		for _, action := range knownActions {
			if glob(p, []rune(strings.ToLower(action))) {
				known = true
				if slices.Contains(requiredActions, action) {
					required = append(required, action)
				}
			}
		}
		if !known {
			return nil, fmt.Errorf("unknown action %q", v)
		}
	}
	return required, nil
}

// allows returns nil if the policy allows every required action and denies
// none.
func (p *policy) allows(ctx map[string]string) error {
	for _, action := range requiredActions {
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
