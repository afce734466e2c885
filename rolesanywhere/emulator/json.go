package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

type member struct {
	name  string
	value json.RawMessage
}

// members splits a JSON object. Unlike [json.Unmarshal] into a struct it
// compares names with regard to case and refuses a name that occurs twice, so
// that two readers of one document cannot see different things in it.
func members(b []byte) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	} else if t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	var all []member
	seen := make(map[string]bool)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		m := member{name: t.(string)} // Token checks that
		if seen[m.name] {
			return nil, fmt.Errorf("%q occurs twice", m.name)
		}
		seen[m.name] = true
		if err := d.Decode(&m.value); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more follows the JSON object")
	}
	return all, nil
}

// stringOrList reads what IAM writes as one string or as a list of them.
func stringOrList(b []byte) ([]string, error) {
	var one string
	if isString(b) {
		err := json.Unmarshal(b, &one)
		return []string{one}, err
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, errors.New("neither a string nor a list of strings")
	}
	if len(raw) == 0 {
		return nil, errors.New("empty list")
	}
	list := make([]string, len(raw))
	for i, r := range raw {
		if !isString(r) {
			return nil, errors.New("list of other than strings")
		}
		if err := json.Unmarshal(r, &list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func isString(b []byte) bool { return len(b) > 0 && b[0] == '"' }

// elements returns what may stand as one object or as an array of them.
func elements(b []byte) []json.RawMessage {
	var list []json.RawMessage
	if len(b) == 0 {
		return nil
	}
	if json.Unmarshal(b, &list) == nil {
		return list
	}
	return []json.RawMessage{b}
}

func parseString(b []byte) (string, error) {
	if !isString(b) {
		return "", errors.New("not a string")
	}
	var s string
	err := json.Unmarshal(b, &s)
	return s, err
}
