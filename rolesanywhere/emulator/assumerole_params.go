package emulator

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// assumeRoleParams are the parameters of an AssumeRole request.
type assumeRoleParams struct {
	RoleARN           string            `json:"roleArn,omitempty"`
	RoleSessionName   string            `json:"roleSessionName,omitempty"`
	DurationSeconds   int               `json:"durationSeconds,omitempty"` // 0: defaultDuration
	ExternalID        string            `json:"externalId,omitempty"`
	SourceIdentity    string            `json:"sourceIdentity,omitempty"`
	Tags              map[string]string `json:"principalTags,omitempty"`
	TransitiveTagKeys []string          `json:"transitiveTagKeys,omitempty"`
	// Incoming are the transitive tags of the session that calls.
	Incoming map[string]string `json:"incomingTransitiveTags,omitempty"`
}

// parseAssumeRole parses and checks the parameters of a request. It refuses those
// that it does not use, so that no tag or policy is lost without an error.
func parseAssumeRole(form url.Values) (p assumeRoleParams, err error) {
	if form, err = parametersOf(form); err != nil {
		return p, err
	}
	take := func(name string) string {
		value := form.Get(name)
		if value != "" {
			form.Del(name)
		}
		return value
	}
	p = assumeRoleParams{
		RoleARN:         take("RoleArn"),
		RoleSessionName: take("RoleSessionName"),
		ExternalID:      take("ExternalId"),
		SourceIdentity:  take("SourceIdentity"),
	}
	if d := take("DurationSeconds"); d != "" {
		if p.DurationSeconds, err = strconv.Atoi(d); err != nil || p.DurationSeconds < minDuration || p.DurationSeconds > maxDuration {
			return p, invalid("durationSeconds", fmt.Sprintf("Member must have value between %d and %d", minDuration, maxDuration))
		}
	}
	if err := p.parseTags(form); err != nil {
		return p, err
	}
	if err := unused(form); err != nil {
		return p, err
	}
	return p, p.check()
}

// parametersOf returns a copy of a form without Action and Version. It refuses a
// parameter that occurs twice.
func parametersOf(form url.Values) (url.Values, error) {
	form = maps.Clone(form)
	form.Del("Action")
	form.Del("Version")
	for _, name := range slices.Sorted(maps.Keys(form)) {
		if len(form[name]) > 1 {
			return nil, refuse(codeSTSValidation, msgSTSInvalidForm, clip(name)+" occurs twice")
		}
	}
	return form, nil
}

// unused is the error about the first one of the parameters that no one has used.
func unused(form url.Values) error {
	if len(form) == 0 {
		return nil
	}
	name := slices.Min(slices.Collect(maps.Keys(form)))
	why := "the emulator does not support " + clip(name)
	list, _, _ := strings.Cut(name, ".")
	switch {
	case form.Get(name) == "":
		why = clip(name) + " is empty"
	case list == "Tags" || list == "TransitiveTagKeys" || list == "TagKeys":
		why += "; the members of a list have the numbers 1, 2, … without gaps, as in " + list + ".member.1"
	}
	return refuse(codeSTSValidation, msgSTSInvalidForm, why)
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

// takeTags parses the list Tags and removes it from the form. A list without members is
// a parameter without a value. code is that of the errors about tags that STS and IAM
// name differently.
func takeTags(form url.Values, code string) (map[string]string, error) {
	if form.Get("Tags") == "" {
		form.Del("Tags")
	}
	tags := make(map[string]string)
	for i := 1; ; i++ {
		member := "Tags.member." + strconv.Itoa(i)
		key, value := form.Get(member+".Key"), form.Get(member+".Value")
		if !form.Has(member+".Key") && !form.Has(member+".Value") {
			return tags, nil
		}
		switch {
		case i > maxTags:
			return nil, invalid("tags", fmt.Sprintf("Member must have length less than or equal to %d", maxTags))
		case !trustpolicy.IsTagKey(key) || !trustpolicy.IsTagValue(value):
			return nil, invalid(fmt.Sprintf("tags.%d.member", i), `Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]*`)
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return nil, refuse(code, msgSTSTagReserved)
		case hasFold(slices.Collect(maps.Keys(tags)), key):
			return nil, refuse(code, msgSTSTagTwice)
		}
		tags[key] = value
		form.Del(member + ".Key")
		form.Del(member + ".Value")
	}
}

// parseTags parses the lists Tags and TransitiveTagKeys and removes them from the form.
func (p *assumeRoleParams) parseTags(form url.Values) (err error) {
	if form.Get("TransitiveTagKeys") == "" {
		form.Del("TransitiveTagKeys")
	}
	if p.Tags, err = takeTags(form, codeSTSParameter); err != nil {
		return err
	}
	for i := 1; ; i++ {
		member := "TransitiveTagKeys.member." + strconv.Itoa(i)
		key := form.Get(member)
		if key == "" {
			return nil
		}
		if i > maxTags {
			return invalid("transitiveTagKeys", fmt.Sprintf("Member must have length less than or equal to %d", maxTags))
		}
		tags := slices.Collect(maps.Keys(p.Tags))
		j := slices.IndexFunc(tags, func(tag string) bool { return trustpolicy.FoldKey(tag) == trustpolicy.FoldKey(key) })
		if j < 0 {
			return refuse(codeSTSParameter, msgSTSTransitive)
		}
		form.Del(member)
		if !slices.Contains(p.TransitiveTagKeys, tags[j]) {
			p.TransitiveTagKeys = append(p.TransitiveTagKeys, tags[j])
		}
	}
}
