package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/rolesanywhere/internal/strictjson"
	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
)

// params are the parameters of a CreateSession request.
type params struct {
	ProfileARN      string `json:"profileArn,omitempty"`
	RoleARN         string `json:"roleArn,omitempty"`
	TrustAnchorARN  string `json:"trustAnchorArn,omitempty"`
	DurationSeconds *int   `json:"durationSeconds,omitempty"`
	RoleSessionName string `json:"roleSessionName,omitempty"`
	// Properties identify the machine. The service model of the control plane has them;
	// CreateSession is in no model.
	Properties map[string]string `json:"instanceProperties,omitempty"`

	ignored []string // names of parameters without effect, as they are shown
}

// Limits of the instance properties in the service model.
const (
	maxProperties = 50
	maxProperty   = 200 // characters of a key or a value
)

// Limits of the names of ignored parameters in the log and in events.
const (
	maxIgnored     = 10
	maxIgnoredName = 64 // bytes
)

// ignore records the name of a parameter that has no effect. Names that could be mistaken
// for something else in a log are quoted.
func (p *params) ignore(name string) {
	if len(p.ignored) == maxIgnored {
		p.ignored = append(p.ignored, "…")
	}
	if len(p.ignored) > maxIgnored {
		return
	}
	name = clipTo(name, maxIgnoredName)
	if !isWord(strings.TrimSuffix(name, "…")) {
		name = strconv.Quote(name)
	}
	p.ignored = append(p.ignored, name)
}

// sessionMembers are the members of the body that have an effect.
var sessionMembers = lookup.Table[string, func(*params, []byte) error]{
	{"profileArn", func(p *params, value []byte) error { return setOnce(&p.ProfileARN, value) }},
	{"roleArn", func(p *params, value []byte) error { return setOnce(&p.RoleARN, value) }},
	{"trustAnchorArn", func(p *params, value []byte) error { return setOnce(&p.TrustAnchorARN, value) }},
	{"durationSeconds", func(p *params, value []byte) error { return json.Unmarshal(value, &p.DurationSeconds) }},
	{"roleSessionName", (*params).setSessionName},
	{"instanceProperties", (*params).setProperties},
}

// parseParams parses the parameters from the query and the body. A parameter
// may be in both if the values are equal. As in every restJson1 service,
// unknown parameters have no effect. Their names are recorded, because a script may
// rely on them.
func parseParams(query string, body []byte) (params, error) {
	var p params
	values, err := url.ParseQuery(query)
	if err != nil {
		return params{}, refuse(codeValidation, msgParameter, "in query", err)
	}
	for _, a := range []struct {
		name string
		dest *string
	}{{"profileArn", &p.ProfileARN}, {"roleArn", &p.RoleARN}, {"trustAnchorArn", &p.TrustAnchorARN}} {
		if n := len(values[a.name]); n > 1 {
			return params{}, refuse(codeValidation, msgParameter, a.name, "occurs twice")
		}
		*a.dest = values.Get(a.name)
		values.Del(a.name)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		p.ignore(name)
	}

	if len(body) == 0 {
		return p, nil
	}
	all, err := strictjson.Members(body)
	if err != nil {
		return params{}, refuse(codeValidation, msgBody, err)
	}
	for _, m := range all {
		set := sessionMembers.Get(m.Name)
		if set == nil {
			p.ignore(m.Name)
			continue
		}
		if bytes.Equal(m.Value, []byte("null")) {
			continue
		}
		if err := set(&p, m.Value); err != nil {
			return params{}, refuse(codeValidation, msgParameter, m.Name, err)
		}
	}
	return p, nil
}

func (p *params) setSessionName(value []byte) error {
	err := json.Unmarshal(value, &p.RoleSessionName)
	if err == nil && p.RoleSessionName == "" {
		err = errors.New("is empty")
	}
	return err
}

func (p *params) setProperties(value []byte) error {
	all, err := strictjson.Members(value)
	if err != nil {
		return err
	}
	if len(all) > maxProperties {
		return fmt.Errorf("has %d members; at most %d are allowed", len(all), maxProperties)
	}
	p.Properties = make(map[string]string, len(all))
	for _, m := range all {
		var v string
		if err := json.Unmarshal(m.Value, &v); err != nil {
			return err
		}
		for _, text := range []string{m.Name, v} {
			if n := utf8.RuneCountInString(text); n < 1 || n > maxProperty {
				return fmt.Errorf("a key or a value has %d characters; 1 to %d are allowed", n, maxProperty)
			}
		}
		p.Properties[m.Name] = v
	}
	return nil
}

// setOnce sets dest from a JSON string. It fails if dest already has a
// different value.
func setOnce(dest *string, value []byte) error {
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return err
	}
	if *dest != "" && *dest != s {
		return errors.New("differs between query and body")
	}
	*dest = s
	return nil
}

func (p params) check() error {
	for _, a := range []struct{ name, value, kind string }{
		{"trustAnchorArn", p.TrustAnchorARN, "trust-anchor"},
		{"profileArn", p.ProfileARN, "profile"},
		{"roleArn", p.RoleARN, "role"},
	} {
		if a.value == "" {
			return refuse(codeValidation, msgParameter, a.name, "is missing")
		}
		if err := checkResourceARN(a.value, a.kind); err != nil {
			return refuse(codeValidation, msgParameter, a.name, err)
		}
	}
	if d := p.DurationSeconds; d != nil && (*d < minDuration || *d > maxDuration) {
		return refuse(codeValidation, msgParameter, "durationSeconds",
			fmt.Sprintf("%d is not between %d and %d", *d, minDuration, maxDuration))
	}
	if n := p.RoleSessionName; n != "" && (len(n) < 2 || len(n) > trustpolicy.MaxIdentity || !isWord(n)) {
		return refuse(codeValidation, msgParameter, "roleSessionName", fmt.Sprintf(`does not match [\w+=,.@-]{2,%d}`, trustpolicy.MaxIdentity))
	}
	return nil
}
