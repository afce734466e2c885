package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
)

// params are what a CreateSession request asks for.
type params struct {
	ProfileARN      string `json:"profileArn,omitempty"`
	RoleARN         string `json:"roleArn,omitempty"`
	TrustAnchorARN  string `json:"trustAnchorArn,omitempty"`
	DurationSeconds *int   `json:"durationSeconds,omitempty"`
	RoleSessionName string `json:"roleSessionName,omitempty"`
}

// parseParams reads the parameters from the query and from the body. A
// parameter may stand in both if it says the same. As in every restJson1
// service, members of other names are ignored, instanceProperties among them.
func parseParams(query string, body []byte) (params, error) {
	var p params
	arns := []struct {
		name string
		at   *string
	}{{"profileArn", &p.ProfileARN}, {"roleArn", &p.RoleARN}, {"trustAnchorArn", &p.TrustAnchorARN}}

	values, err := url.ParseQuery(query)
	if err != nil {
		return params{}, refuse(codeValidation, msgParameter, "in query", err)
	}
	for _, a := range arns {
		if n := len(values[a.name]); n > 1 {
			return params{}, refuse(codeValidation, msgParameter, a.name, "occurs twice")
		}
		*a.at = values.Get(a.name)
	}

	if len(body) == 0 {
		return p, nil
	}
	all, err := members(body)
	if err != nil {
		return params{}, refuse(codeValidation, msgBody, err)
	}
	for _, m := range all {
		if bytes.Equal(m.value, []byte("null")) {
			continue
		}
		var err error
		switch m.name {
		case "durationSeconds":
			err = json.Unmarshal(m.value, &p.DurationSeconds)
		case "roleSessionName":
			err = json.Unmarshal(m.value, &p.RoleSessionName)
			if err == nil && p.RoleSessionName == "" {
				err = errors.New("is empty")
			}
		default:
			for _, a := range arns {
				if a.name == m.name {
					err = setOnce(a.at, m.value)
				}
			}
		}
		if err != nil {
			return params{}, refuse(codeValidation, msgParameter, m.name, err)
		}
	}
	return p, nil
}

func setOnce(at *string, value []byte) error {
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return err
	}
	if *at != "" && *at != s {
		return errors.New("differs between query and body")
	}
	*at = s
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
		if _, err := parseARN(a.value, a.kind); err != nil {
			return refuse(codeValidation, msgParameter, a.name, err)
		}
	}
	if d := p.DurationSeconds; d != nil && (*d < minDuration || *d > maxDuration) {
		return refuse(codeValidation, msgParameter, "durationSeconds",
			fmt.Sprintf("%d is not within %d and %d", *d, minDuration, maxDuration))
	}
	if n := p.RoleSessionName; n != "" && (len(n) < 2 || len(n) > maxIdentity || !isWord(n)) {
		return refuse(codeValidation, msgParameter, "roleSessionName", fmt.Sprintf(`does not match [\w+=,.@-]{2,%d}`, maxIdentity))
	}
	return nil
}
