package emulator

import (
	"cmp"
	"encoding/xml"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// The limits of AssumeRole, from the service model and the user guide.
const (
	maxChained    = 3600 // seconds; of the session of a role that another role assumed
	maxTags       = 50
	maxExternalID = 1224
)

// maxPacked limits the characters in the keys and values of the tags of a session.
// It is the emulator's own limit, because AWS does not document how it packs tags.
// It refuses nothing that AWS is known to accept: nine tags with 2268 characters
// consumed 498% of the space there.
const maxPacked = 2048

type assumeRoleResponse struct {
	XMLName          xml.Name         `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleResponse" json:"-"`
	User             assumedRoleUser  `xml:"AssumeRoleResult>AssumedRoleUser" json:"assumedRoleUser"`
	Credentials      assumeRoleOutput `xml:"AssumeRoleResult>Credentials" json:"credentials"`
	PackedPolicySize int              `xml:"AssumeRoleResult>PackedPolicySize" json:"-"`
	SourceIdentity   string           `xml:"AssumeRoleResult>SourceIdentity,omitempty" json:"sourceIdentity,omitempty"`
	RequestID        string           `xml:"ResponseMetadata>RequestId" json:"-"`
}

// assumeRoleOutput has the issued credentials. Its JSON is for events and has no
// secrets.
type assumeRoleOutput struct {
	AccessKeyID     string `xml:"AccessKeyId" json:"accessKeyId"`
	SecretAccessKey string `json:"-"`
	SessionToken    string `json:"-"`
	Expiration      string `json:"expiration"`
}

// assumeRole handles an AssumeRole request of a session or of the administrator, who is
// an IAM user, and records details in the event.
func (s *Server) assumeRole(q *queryRequest) (any, error) {
	caller, ev := q.caller, q.ev
	p, err := parseAssumeRole(q.form)
	ev.RequestParameters = &p
	if err != nil {
		return nil, err
	}
	seconds := cmp.Or(p.DurationSeconds, defaultDuration)
	if seconds > maxChained && !caller.isAdministrator() {
		return nil, refuse(codeSTSValidation, msgSTSChained)
	}
	if p.Incoming, err = p.inherit(caller); err != nil {
		return nil, err
	}
	if n := characters(p.Tags) + characters(p.Incoming); n > maxPacked {
		return nil, refuse(codeSTSPacked, msgSTSPacked, (100*n+maxPacked-1)/maxPacked)
	}
	denied := func(action string) *refusal {
		return refuse(codeSTSDenied, msgSTSDenied, caller.User.ARN, action, p.RoleARN)
	}
	s.mu.RLock()
	role, ok := s.roles.get(p.RoleARN)
	own, exists := s.roles.get(caller.RoleARN)
	s.mu.RUnlock()
	// A role that was created again has another ID.
	if !caller.isAdministrator() && (!exists || !strings.HasPrefix(caller.User.ID, own.ID+":")) {
		return nil, denied(trustpolicy.AssumeRole).because(errors.New("the role of the session was deleted"))
	}
	if !ok {
		return nil, denied(trustpolicy.AssumeRole).because(errors.New("role does not exist"))
	}
	if role.policy != nil {
		var refused *trustpolicy.DeniedError
		request := p.request(caller)
		if err := role.policy.Allows(request); errors.As(err, &refused) {
			return nil, denied(refused.Action).because(explainDenial(role.policy, request, err))
		}
	}

	if seconds > role.Max {
		return nil, refuse(codeSTSValidation, msgSTSMaxDuration)
	}
	lifetime := time.Duration(seconds) * time.Second
	if s.faults.SessionLifetime > 0 {
		lifetime = s.faults.SessionLifetime
	}
	issued := newSession(role.user(p.RoleSessionName), role.arn.account, s.now(), lifetime)
	issued.RoleARN, issued.Source = p.RoleARN, p.source(caller)
	issued.Tags = maps.Clone(p.Incoming)
	maps.Copy(issued.Tags, p.Tags)
	issued.Transitive = slices.Concat(slices.Sorted(maps.Keys(p.Incoming)), p.TransitiveTagKeys)
	ev.also = append(ev.also, func(c *changes) { s.addSession(c, issued) })
	ev.Resources = []eventResource{{issued.Account, typeRole, p.RoleARN}}
	out := &assumeRoleResponse{
		User: issued.User,
		Credentials: assumeRoleOutput{
			AccessKeyID:     issued.AccessKeyID,
			SecretAccessKey: issued.Secret,
			SessionToken:    issued.Token,
			Expiration:      issued.Expires.Format(time.RFC3339),
		},
		PackedPolicySize: packedPolicySize,
		SourceIdentity:   issued.Source,
		RequestID:        q.id,
	}
	ev.ResponseElements = out
	return out, nil
}

// inherit checks the tags and the source identity of a request against those
// that the session of the caller passes on, and returns the tags.
func (p *assumeRoleParams) inherit(caller *session) (map[string]string, error) {
	incoming := make(map[string]string)
	for _, key := range caller.Transitive {
		incoming[key] = caller.Tags[key]
		if hasFold(slices.Collect(maps.Keys(p.Tags)), key) {
			return nil, refuse(codeSTSParameter, msgSTSTagConflict)
		}
	}
	if caller.Source != "" && p.SourceIdentity != "" && p.SourceIdentity != caller.Source {
		return nil, refuse(codeSTSDenied, msgSTSSource)
	}
	return incoming, nil
}

// characters returns the number of characters in keys and values of tags.
func characters(tags map[string]string) (n int) {
	for key, value := range tags {
		n += utf8.RuneCountInString(key) + utf8.RuneCountInString(value)
	}
	return n
}

// hasFold reports whether the keys of tags have a key, whose case does not matter.
func hasFold(keys []string, key string) bool {
	return slices.ContainsFunc(keys, func(s string) bool { return trustpolicy.FoldKey(s) == trustpolicy.FoldKey(key) })
}

// source returns the source identity of the session that a request gives.
func (p *assumeRoleParams) source(caller *session) string {
	if caller.Source != "" {
		return caller.Source
	}
	return p.SourceIdentity
}

// request returns what the trust policy of the role decides about. The emulator
// has no policies of the calling role, which AWS asks too. The administrator may do
// everything.
func (p *assumeRoleParams) request(caller *session) trustpolicy.Request {
	ctx := make(trustpolicy.Context)
	set := func(key, value string) {
		if value != "" {
			ctx.Set(key, value)
		}
	}
	principal := trustpolicy.Principal{Account: caller.Account, RoleARN: caller.RoleARN, SessionARN: caller.User.ARN}
	if caller.isAdministrator() {
		principal = trustpolicy.Principal{Account: caller.Account, UserARN: caller.User.ARN}
	}
	set(trustpolicy.KeyPrincipalArn, principal.RoleARN+principal.UserARN) // one of them is empty
	set(trustpolicy.KeyPrincipalAccount, caller.Account)
	set(trustpolicy.KeyOwnSourceIdentity, caller.Source)
	set(trustpolicy.KeySourceIdentity, p.SourceIdentity)
	set(trustpolicy.KeyRoleSessionName, p.RoleSessionName)
	set(trustpolicy.KeyExternalID, p.ExternalID)
	ctx.SetTags(trustpolicy.KeyPrincipalTag, caller.Tags)
	ctx.SetTags(trustpolicy.KeyRequestTag, p.Tags)
	ctx.Set(trustpolicy.KeyTagKeys, slices.Sorted(maps.Keys(p.Tags))...)
	ctx.Set(trustpolicy.KeyTransitiveTagKeys, p.TransitiveTagKeys...)

	actions := []string{trustpolicy.AssumeRole}
	if len(p.Tags)+len(p.Incoming) > 0 {
		actions = append(actions, trustpolicy.TagSession)
	}
	if p.source(caller) != "" {
		actions = append(actions, trustpolicy.SetSourceIdentity)
	}
	return trustpolicy.Request{Principal: principal, Actions: actions, Context: ctx}
}
