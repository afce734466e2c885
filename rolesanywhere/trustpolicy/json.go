package trustpolicy

import (
	"encoding/json"
	"errors"
)

// stringOrList parses a JSON string or a non-empty list of strings, which are
// interchangeable in IAM policies.
func stringOrList(b []byte) ([]string, error) {
	var one string
	if isString(b) {
		err := json.Unmarshal(b, &one)
		return []string{one}, err
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, errors.New("not a string or a list of strings")
	}
	if len(raw) == 0 {
		return nil, errors.New("empty list")
	}
	list := make([]string, len(raw))
	for i, r := range raw {
		if !isString(r) {
			return nil, errors.New("list with an element that is not a string")
		}
		if err := json.Unmarshal(r, &list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func isString(b []byte) bool { return len(b) > 0 && b[0] == '"' }

// elements returns the elements of a JSON array. A single object counts as an
// array with one element.
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
