package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere/assume"
	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// checkPolicy evaluates the trust policy of the role, or of the second role.
func checkPolicy(_ context.Context, p *patient) (results []result) {
	data, err := keystore.ReadFile(p.trustPolicy, keystore.MaxInput)
	if err != nil {
		role := p.config.RoleName()
		if p.second.RoleARN != "" {
			role = p.second.RoleARN[strings.LastIndex(p.second.RoleARN, "/")+1:]
		}
		return []result{failure(fmt.Errorf("--trust-policy %s: %w", p.trustPolicy, err)).with(getPolicy(role)...)}
	}
	document := policyOf(data)
	policy, err := trustpolicy.ParsePartly(document)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return []result{edit(failed(front.ExitOther, "%s ends too early: it is not a complete JSON document", p.trustPolicy), p.trustPolicy, 1)}
	case err != nil:
		return []result{edit(failed(front.ExitOther, "%s: %v", p.trustPolicy, err), p.trustPolicy, 1)}
	}
	request, caller := p.createSession(), "this certificate"
	principal := trustpolicy.RolesAnywhere
	if p.second.RoleARN != "" && !policy.Names(trustpolicy.RolesAnywhere) {
		request, principal = p.assumeSecond(), p.config.RoleARN
		caller = "the session of " + principal
	}
	statements := policy.Explain(request)
	denied := policy.Allows(request)
	for _, s := range statements {
		if denied == nil || !s.Deny && s.Applies() { // others are in the fault
			results = append(results, fine("%s", describeStatement(s, principal)))
		}
	}
	var unsupported *trustpolicy.UnsupportedError
	switch err := denied; {
	case errors.As(err, &unsupported):
		results = nil
		for _, s := range statements {
			results = append(results, fine("%s", describeStatement(s, principal)))
		}
		return append([]result{skip("doctor cannot evaluate %s in statement %d of %s; the rest of it allows %s to %s",
			unsupported.What, unsupported.Statement, p.trustPolicy, strings.Join(request.Actions, ", "), caller)}, results...)
	case err != nil:
		why := p.unmet(statements, principal, err)
		r := failed(front.ExitOther, "%v for %s%s", err, caller, why.text)
		r = r.because(why.mend + "; then run doctor again, and upload the file only if it has no fault")
		return append([]result{edit(r, p.trustPolicy, strings.Count(string(data[:max(0, bytes.Index(data, document))]), "\n")+lineOf(document, why.statement))}, results...)
	}
	return append([]result{fine("%s allows %s to %s", p.trustPolicy, strings.Join(request.Actions, ", "), caller)}, results...)
}

// policyOf returns the policy in a file, which can also be the whole response of
// get-role, or begin with a byte order mark.
func policyOf(data []byte) []byte {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var response struct {
		Role struct{ AssumeRolePolicyDocument json.RawMessage }
	}
	if json.Unmarshal(data, &response) == nil && len(response.Role.AssumeRolePolicyDocument) > 0 {
		return response.Role.AssumeRolePolicyDocument
	}
	return data
}

// getPolicy returns the command that shows the trust policy of a role.
func getPolicy(role string) []string {
	return asAdmin("aws", "iam", "get-role", "--role-name", role, "--query", "Role.AssumeRolePolicyDocument", "--output", "json")
}

// createSession returns the request to STS for a session with the certificate.
func (p *patient) createSession() trustpolicy.Request {
	leaf := p.certs.Chain[0]
	tags, _ := trustpolicy.SessionTags(leaf)
	return trustpolicy.CreateSession(p.config.TrustAnchorARN, accountOf(p.config.TrustAnchorARN), trustpolicy.SourceIdentity(leaf), p.sessionName(), tags)
}

// sessionName is the name of the session of the first role.
func (p *patient) sessionName() string {
	if p.config.SessionName != "" {
		return p.config.SessionName
	}
	return trustpolicy.SerialNumber(p.certs.Chain[0])
}

// accountOf returns the account in an ARN, or "".
func accountOf(arn string) string {
	if parts := strings.Split(arn, ":"); len(parts) > 4 {
		return parts[4]
	}
	return ""
}

// assumeSecond returns the request to STS to assume the second role.
func (p *patient) assumeSecond() trustpolicy.Request {
	leaf := p.certs.Chain[0]
	tags, _ := trustpolicy.SessionTags(leaf)
	account, second := accountOf(p.config.RoleARN), p.second
	name := second.SessionName
	if name == "" {
		name = assume.DefaultSessionName
	}
	ctx := make(trustpolicy.Context)
	ctx.Set(trustpolicy.KeyPrincipalArn, p.config.RoleARN)
	ctx.Set(trustpolicy.KeyPrincipalAccount, account)
	ctx.Set(trustpolicy.KeyOwnSourceIdentity, trustpolicy.SourceIdentity(leaf))
	ctx.Set(trustpolicy.KeyRoleSessionName, name)
	if second.ExternalID != "" {
		ctx.Set(trustpolicy.KeyExternalID, second.ExternalID)
	}
	ctx.SetTags(trustpolicy.KeyPrincipalTag, tags)
	ctx.SetTags(trustpolicy.KeyRequestTag, second.Tags)
	ctx.Set(trustpolicy.KeyTagKeys, slices.Sorted(maps.Keys(second.Tags))...)
	ctx.Set(trustpolicy.KeyTransitiveTagKeys, second.TransitiveTagKeys...)
	actions := []string{trustpolicy.AssumeRole, trustpolicy.SetSourceIdentity}
	if len(second.Tags) > 0 {
		actions = append(actions, trustpolicy.TagSession)
	}
	partition, _, _ := strings.Cut(strings.TrimPrefix(p.config.RoleARN, "arn:"), ":")
	return trustpolicy.Request{
		Principal: trustpolicy.Principal{Account: account, RoleARN: p.config.RoleARN,
			SessionARN: fmt.Sprintf("arn:%s:sts::%s:assumed-role/%s/%s", partition, account, p.config.RoleName(), p.sessionName())},
		Actions: actions,
		Context: ctx,
	}
}

// describeStatement describes how a statement applies, condition by condition.
func describeStatement(s trustpolicy.StatementResult, principal string) string {
	effect := "allows"
	if s.Deny {
		effect = "denies"
	}
	switch {
	case !s.Principal:
		return fmt.Sprintf("statement %d is not for %s", s.Number, principal)
	case len(s.Actions) == 0:
		return fmt.Sprintf("statement %d has no action that is needed", s.Number)
	}
	text := fmt.Sprintf("statement %d %s %s", s.Number, effect, strings.Join(s.Actions, ", "))
	if s.Unsupported != "" {
		text += "; doctor cannot evaluate " + s.Unsupported
	}
	for _, c := range s.Conditions {
		if c.Met {
			text += "; condition met: " + strings.TrimPrefix(c.String(), "requires ")
			continue
		}
		text += "; it " + c.String()
		if c.Unsupported != "" {
			text += ", which doctor cannot evaluate"
		}
	}
	return text
}
