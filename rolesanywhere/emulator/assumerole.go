package emulator

import (
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// The limits of AssumeRole, from the service model and the user guide.
const (
	maxChained    = 3600 // seconds; of the session of a role that another role assumed
	maxTags       = 50
	maxExternalID = 1224
)

// assumeRoleParams are the parameters of an AssumeRole request.
type assumeRoleParams struct {
	RoleARN           string            `json:"roleArn,omitempty"`
	RoleSessionName   string            `json:"roleSessionName,omitempty"`
	DurationSeconds   int               `json:"durationSeconds,omitempty"`
	ExternalID        string            `json:"externalId,omitempty"`
	SourceIdentity    string            `json:"sourceIdentity,omitempty"`
	Tags              map[string]string `json:"principalTags,omitempty"`
	TransitiveTagKeys []string          `json:"transitiveTagKeys,omitempty"`
	// Incoming are the transitive tags of the session that calls.
	Incoming map[string]string `json:"incomingTransitiveTags,omitempty"`
}

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

// assumeRole handles an AssumeRole request of a session and records details in
// ev.
func (s *Server) assumeRole(caller *session, form url.Values, id string, ev *event) (any, error) {
	p, err := parseAssumeRole(form)
	ev.RequestParameters = &p
	if err != nil {
		return nil, err
	}
	if p.DurationSeconds > maxChained {
		return nil, refuse(codeSTSValidation, msgSTSChained)
	}
	if p.Incoming, err = p.inherit(caller); err != nil {
		return nil, err
	}
	denied := func(action string) *refusal {
		return refuse(codeSTSDenied, msgSTSDenied, caller.user.ARN, action, p.RoleARN)
	}
	role, ok := s.roles[p.RoleARN]
	if !ok {
		return nil, denied(trustpolicy.AssumeRole).because(errors.New("role does not exist"))
	}
	if role.policy != nil {
		var refused *trustpolicy.DeniedError
		if err := role.policy.Allows(p.request(caller)); errors.As(err, &refused) {
			return nil, denied(refused.Action).because(err)
		}
	}

	now, lifetime := s.now(), time.Duration(p.DurationSeconds)*time.Second
	if s.faults.SessionLifetime > 0 {
		lifetime = s.faults.SessionLifetime
	}
	issued := newSession(role.user(p.RoleARN, p.RoleSessionName), role.arn.account, now.Add(lifetime))
	issued.roleARN, issued.source = p.RoleARN, p.source(caller)
	issued.tags = maps.Clone(p.Incoming)
	maps.Copy(issued.tags, p.Tags)
	issued.transitive = slices.Concat(slices.Sorted(maps.Keys(p.Incoming)), p.TransitiveTagKeys)
	s.sessions.add(issued, now)
	out := &assumeRoleResponse{
		User: issued.user,
		Credentials: assumeRoleOutput{
			AccessKeyID:     issued.accessKeyID,
			SecretAccessKey: issued.secret,
			SessionToken:    issued.token,
			Expiration:      issued.expires.Format(time.RFC3339),
		},
		PackedPolicySize: packedPolicySize,
		SourceIdentity:   issued.source,
		RequestID:        id,
	}
	ev.ResponseElements = out
	return out, nil
}

// inherit checks the tags and the source identity of a request against those
// that the session of the caller passes on, and returns the tags.
func (p *assumeRoleParams) inherit(caller *session) (map[string]string, error) {
	incoming := make(map[string]string)
	for _, key := range caller.transitive {
		incoming[key] = caller.tags[key]
		if hasFold(slices.Collect(maps.Keys(p.Tags)), key) {
			return nil, refuse(codeSTSParameter, msgSTSTagConflict)
		}
	}
	if caller.source != "" && p.SourceIdentity != "" && p.SourceIdentity != caller.source {
		return nil, refuse(codeSTSDenied, msgSTSSource)
	}
	return incoming, nil
}

func hasFold(names []string, name string) bool {
	return slices.ContainsFunc(names, func(s string) bool { return strings.EqualFold(s, name) })
}

// source returns the source identity of the session that a request gives.
func (p *assumeRoleParams) source(caller *session) string {
	if caller.source != "" {
		return caller.source
	}
	return p.SourceIdentity
}

// request returns what the trust policy of the role decides about. The emulator
// has no policies of the calling role, which AWS asks too.
func (p *assumeRoleParams) request(caller *session) trustpolicy.Request {
	ctx := make(trustpolicy.Context)
	set := func(key, value string) {
		if value != "" {
			ctx.Set(key, value)
		}
	}
	set(trustpolicy.KeyPrincipalArn, caller.roleARN)
	set(trustpolicy.KeyPrincipalAccount, caller.account)
	set(trustpolicy.KeyOwnSourceIdentity, caller.source)
	set(trustpolicy.KeySourceIdentity, p.SourceIdentity)
	set(trustpolicy.KeyRoleSessionName, p.RoleSessionName)
	set(trustpolicy.KeyExternalID, p.ExternalID)
	ctx.SetTags(trustpolicy.KeyPrincipalTag, caller.tags)
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
	return trustpolicy.Request{
		Principal: trustpolicy.Principal{Account: caller.account, RoleARN: caller.roleARN, SessionARN: caller.user.ARN},
		Actions:   actions,
		Context:   ctx,
	}
}

// parseAssumeRole parses and checks the parameters of a request.
func parseAssumeRole(form url.Values) (p assumeRoleParams, err error) {
	for name, values := range form {
		if len(values) > 1 {
			return p, refuse(codeSTSValidation, msgSTSInvalidForm, name+" occurs twice")
		}
		for _, unsupported := range []string{"Policy", "PolicyArns", "SerialNumber", "TokenCode", "ProvidedContexts"} {
			if first, _, _ := strings.Cut(name, "."); first == unsupported {
				return p, refuse(codeSTSValidation, msgSTSInvalidForm, "the emulator does not support "+unsupported)
			}
		}
	}
	p = assumeRoleParams{
		RoleARN:         form.Get("RoleArn"),
		RoleSessionName: form.Get("RoleSessionName"),
		DurationSeconds: defaultDuration,
		ExternalID:      form.Get("ExternalId"),
		SourceIdentity:  form.Get("SourceIdentity"),
	}
	if d := form.Get("DurationSeconds"); d != "" {
		if p.DurationSeconds, err = strconv.Atoi(d); err != nil || p.DurationSeconds < minDuration || p.DurationSeconds > maxDuration {
			return p, invalid("durationSeconds", fmt.Sprintf("Member must have value between %d and %d", minDuration, maxDuration))
		}
	}
	if err := p.parseTags(form); err != nil {
		return p, err
	}
	return p, p.check()
}

// invalid is the error about a parameter that violates the service model.
func invalid(name, constraint string) *refusal {
	return refuse(codeSTSValidation, msgSTSConstraint, name, constraint)
}

func (p *assumeRoleParams) check() error {
	if _, err := parseARN(p.RoleARN, "role"); err != nil {
		return refuse(codeSTSValidation, msgSTSARN, p.RoleARN)
	}
	isName := func(s string) bool { return len(s) >= 2 && len(s) <= trustpolicy.MaxIdentity && isWord(s) }
	switch id := strings.NewReplacer(":", "", "/", "").Replace(p.ExternalID); {
	case !isName(p.RoleSessionName):
		return invalid("roleSessionName", fmt.Sprintf(`Member must satisfy regular expression pattern: [\w+=,.@-]{2,%d}`, trustpolicy.MaxIdentity))
	case p.SourceIdentity != "" && !isName(p.SourceIdentity):
		return invalid("sourceIdentity", fmt.Sprintf(`Member must satisfy regular expression pattern: [\w+=,.@-]{2,%d}`, trustpolicy.MaxIdentity))
	case p.ExternalID != "" && (len(p.ExternalID) < 2 || len(p.ExternalID) > maxExternalID || id != "" && !isWord(id)):
		return invalid("externalId", fmt.Sprintf(`Member must satisfy regular expression pattern: [\w+=,.@:\/-]{2,%d}`, maxExternalID))
	}
	return nil
}

// parseTags parses the lists Tags and TransitiveTagKeys.
func (p *assumeRoleParams) parseTags(form url.Values) error {
	p.Tags = make(map[string]string)
	for i := 1; ; i++ {
		member := "Tags.member." + strconv.Itoa(i)
		key, value := form.Get(member+".Key"), form.Get(member+".Value")
		if !form.Has(member+".Key") && !form.Has(member+".Value") {
			break
		}
		switch {
		case i > maxTags:
			return invalid("tags", fmt.Sprintf("Member must have length less than or equal to %d", maxTags))
		case !trustpolicy.IsTagKey(key) || !trustpolicy.IsTagValue(value):
			return invalid(fmt.Sprintf("tags.%d.member", i), `Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]*`)
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return refuse(codeSTSParameter, msgSTSTagReserved)
		case hasFold(slices.Collect(maps.Keys(p.Tags)), key):
			return refuse(codeSTSParameter, msgSTSTagTwice)
		}
		p.Tags[key] = value
	}
	for i := 1; ; i++ {
		key := form.Get("TransitiveTagKeys.member." + strconv.Itoa(i))
		if key == "" {
			return nil
		}
		if i > maxTags {
			return invalid("transitiveTagKeys", fmt.Sprintf("Member must have length less than or equal to %d", maxTags))
		}
		tags := slices.Collect(maps.Keys(p.Tags))
		j := slices.IndexFunc(tags, func(tag string) bool { return strings.EqualFold(tag, key) })
		if j < 0 {
			return refuse(codeSTSParameter, msgSTSTransitive)
		}
		if !slices.Contains(p.TransitiveTagKeys, tags[j]) {
			p.TransitiveTagKeys = append(p.TransitiveTagKeys, tags[j])
		}
	}
}
