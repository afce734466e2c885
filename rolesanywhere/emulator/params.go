package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

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
}

// parseParams parses the parameters from the query and the body. A parameter
// may be in both if the values are equal. As in every restJson1 service,
// unknown members are ignored, including instanceProperties.
func parseParams(query string, body []byte) (params, error) {
	var p params
	arns := []struct {
		name string
		dest *string
	}{{"profileArn", &p.ProfileARN}, {"roleArn", &p.RoleARN}, {"trustAnchorArn", &p.TrustAnchorARN}}

	values, err := url.ParseQuery(query)
	if err != nil {
		return params{}, refuse(codeValidation, msgParameter, "in query", err)
	}
	for _, a := range arns {
		if n := len(values[a.name]); n > 1 {
			return params{}, refuse(codeValidation, msgParameter, a.name, "occurs twice")
		}
		*a.dest = values.Get(a.name)
	}

	if len(body) == 0 {
		return p, nil
	}
	all, err := strictjson.Members(body)
	if err != nil {
		return params{}, refuse(codeValidation, msgBody, err)
	}
	for _, m := range all {
		if bytes.Equal(m.Value, []byte("null")) {
			continue
		}
		var err error
		switch m.Name {
		case "durationSeconds":
			err = json.Unmarshal(m.Value, &p.DurationSeconds)
		case "roleSessionName":
			err = json.Unmarshal(m.Value, &p.RoleSessionName)
			if err == nil && p.RoleSessionName == "" {
				err = errors.New("is empty")
			}
		default:
			for _, a := range arns {
				if a.name == m.Name {
					err = setOnce(a.dest, m.Value)
				}
			}
		}
		if err != nil {
			return params{}, refuse(codeValidation, msgParameter, m.Name, err)
		}
	}
	return p, nil
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
