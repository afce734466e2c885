package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/rolesanywhere/internal/strictjson"
)

// decodeMembers decodes a body into a struct. It refuses unknown members, because the
// emulator would not do what they ask for, members in another case and duplicate members,
// and data after the object. null is an absent member.
func decodeMembers(body []byte, in any) error {
	if err := decodeStrictly(body, in, exactly); err != nil {
		return refuse(codeValidation, msgBody, err)
	}
	return nil
}

// A naming reports whether a member with a name in JSON is that of a field with a tag.
type naming func(tag, name string) bool

func exactly(tag, name string) bool { return tag == name }

// capitalized is the naming of the protocol JSON 1.1.
func capitalized(tag, name string) bool { return name != "" && name != tag && memberName(name) == tag }

// decodeStrictly is decodeMembers for a naming. encoding/json, which decodes, ignores case.
func decodeStrictly(body []byte, in any, naming naming) error {
	err := errors.New("is not UTF-8")
	if utf8.Valid(body) {
		err = checkMembers(body, reflect.TypeOf(in).Elem(), naming)
	}
	if err == nil {
		err = json.Unmarshal(body, in)
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		err = fmt.Errorf("member %s cannot be a JSON %s", wrong.Field, wrong.Value)
	}
	return err
}

// checkMembers checks the names of the members of b and of the objects in it. It ignores
// values of wrong types, which encoding/json refuses.
func checkMembers(b []byte, t reflect.Type, naming naming) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case string(b) == "null" && t.Kind() != reflect.Struct:
		return nil
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		var all []json.RawMessage
		if json.Unmarshal(b, &all) != nil {
			return nil
		}
		for _, element := range all {
			if err := checkMembers(element, t.Elem(), naming); err != nil {
				return err
			}
		}
		return nil
	case t.Kind() != reflect.Struct:
		return nil
	}
	members, err := strictjson.Members(b)
	if err != nil {
		return err
	}
	for _, m := range members {
		field, ok := memberType(t, m.Name, naming)
		if !ok {
			return fmt.Errorf("unknown member %q", clip(m.Name))
		}
		if string(m.Value) == "null" {
			continue
		}
		if err := checkMembers(m.Value, field, naming); err != nil {
			return fmt.Errorf("member %s: %w", m.Name, err)
		}
	}
	return nil
}

// memberType returns the type of the member of a struct that has this name in JSON.
func memberType(t reflect.Type, name string, naming naming) (reflect.Type, bool) {
	for _, f := range reflect.VisibleFields(t) {
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag != "" && naming(tag, name) {
			return f.Type, true
		}
	}
	return nil, false
}
