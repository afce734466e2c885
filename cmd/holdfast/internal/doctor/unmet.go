package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// A refusal says why a policy does not allow a request.
type refusal struct {
	statement int    // that has to change
	text      string // begins with ": ", or is ""
	mend      string // what to change
}

// unmet returns why a statement that allows does not apply, with all of its
// conditions that are not met, or why one that denies does. err is the error of
// [trustpolicy.Policy.Allows].
func (p *patient) unmet(statements []trustpolicy.StatementResult, principal string, err error) refusal {
	correct := "correct " + p.trustPolicy
	for _, s := range statements {
		if s.Deny && s.Applies() && len(s.Actions) > 0 {
			return refusal{s.Number, fmt.Sprintf(": statement %d applies", s.Number), fmt.Sprintf("change statement %d", s.Number)}
		}
	}
	for _, s := range statements {
		var open []trustpolicy.ConditionResult
		for _, c := range s.Conditions {
			if !s.Deny && s.Principal && !c.Met && c.Unsupported == "" {
				open = append(open, c)
			}
		}
		if len(open) > 0 {
			return refusal{s.Number, conditionsOf(s.Number, open), p.mendOf(s.Number, open)}
		}
	}
	for _, s := range statements {
		if !s.Deny && !s.Principal && !slices.ContainsFunc(statements, func(s trustpolicy.StatementResult) bool { return !s.Deny && s.Principal }) {
			return refusal{s.Number, fmt.Sprintf(": the principal of statement %d is not %s", s.Number, principal), correct}
		}
	}
	var denied *trustpolicy.DeniedError
	for _, s := range statements {
		if errors.As(err, &denied) && !s.Deny && s.Principal && !slices.Contains(s.Actions, denied.Action) {
			return refusal{s.Number, fmt.Sprintf(": statement %d does not list it", s.Number), fmt.Sprintf("add %s to Action of statement %d", denied.Action, s.Number)}
		}
	}
	return refusal{1, "", correct}
}

// conditionsOf describes the conditions of a statement that are not met.
func conditionsOf(statement int, open []trustpolicy.ConditionResult) string {
	text := fmt.Sprintf(": statement %d ", statement)
	for i, c := range open {
		if i > 0 {
			text += ", and it "
		}
		text += c.String()
	}
	return text
}

// mendOf says how the conditions of a statement can be met.
func (p *patient) mendOf(statement int, open []trustpolicy.ConditionResult) string {
	var flags []string
	for _, c := range open {
		key, value := strings.ToLower(c.Key), c.Want[0]
		tag, isTag := strings.CutPrefix(key, strings.ToLower(trustpolicy.KeyRequestTag))
		flag := ""
		switch {
		case !strings.HasPrefix(c.Operator, "StringEquals") || p.second.RoleARN == "" || strings.ContainsAny(value, "$*"):
			return "correct " + p.trustPolicy + ", or use another certificate"
		case key == strings.ToLower(trustpolicy.KeyExternalID):
			flag = "--assume-role-external-id"
		case key == strings.ToLower(trustpolicy.KeyRoleSessionName):
			flag = "--assume-role-session-name"
		case isTag && !strings.HasPrefix(tag, "x509"):
			flag, value = "--assume-role-tag", c.Key[len(c.Key)-len(tag):]+"="+value
		default:
			return "correct " + p.trustPolicy + ", or use another certificate"
		}
		flags = append(flags, command(flag, value))
	}
	return fmt.Sprintf("pass %s, or change statement %d", strings.Join(flags, " "), statement)
}

// lineOf returns the line on which a statement of a policy begins, or 1.
func lineOf(policy []byte, statement int) int {
	var document struct{ Statement json.RawMessage }
	if json.Unmarshal(policy, &document) != nil {
		return 1
	}
	all := []json.RawMessage{document.Statement}
	if list := []json.RawMessage(nil); json.Unmarshal(document.Statement, &list) == nil {
		all = list
	}
	if statement < 1 || statement > len(all) {
		return 1
	}
	at := strings.Index(string(policy), string(document.Statement))
	for i, s := range all[:statement] { // the same text can occur before
		next := strings.Index(string(policy[at:]), string(s))
		if at += next; i < statement-1 {
			at += len(s)
		}
	}
	return 1 + strings.Count(string(policy[:at]), "\n")
}
