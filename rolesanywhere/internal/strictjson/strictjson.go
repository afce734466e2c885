// Package strictjson parses JSON objects so that two parsers cannot interpret
// them differently.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A Member is a member of an object.
type Member struct {
	Name  string
	Value json.RawMessage
}

// Members returns the members of a JSON object. Unlike [json.Unmarshal] into a
// struct, it treats names as case-sensitive and refuses duplicate names, so
// that two parsers cannot interpret a document differently.
func Members(b []byte) ([]Member, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	} else if t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	var all []Member
	seen := make(map[string]bool)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		m := Member{Name: t.(string)} // Token guarantees a string here
		if seen[m.Name] {
			return nil, fmt.Errorf("%q occurs twice", m.Name)
		}
		seen[m.Name] = true
		if err := d.Decode(&m.Value); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("data after the JSON object")
	}
	return all, nil
}
