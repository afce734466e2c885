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
	err := errors.New("is not UTF-8")
	if utf8.Valid(body) {
		err = checkMembers(body, reflect.TypeOf(in).Elem())
	}
	if err == nil {
		err = json.Unmarshal(body, in)
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		err = fmt.Errorf("member %s cannot be a JSON %s", wrong.Field, wrong.Value)
	}
	if err != nil {
		return refuse(codeValidation, msgBody, err)
	}
	return nil
}

// checkMembers checks the names of the members of b and of the objects in it. It ignores
// values of wrong types, which encoding/json refuses.
func checkMembers(b []byte, t reflect.Type) error {
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
			if err := checkMembers(element, t.Elem()); err != nil {
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
		field, ok := memberType(t, m.Name, exactly)
		if !ok {
			return fmt.Errorf("unknown member %q", clip(m.Name))
		}
		if string(m.Value) == "null" {
			continue
		}
		if err := checkMembers(m.Value, field); err != nil {
			return fmt.Errorf("member %s: %w", m.Name, err)
		}
	}
	return nil
}

func exactly(a, b string) bool { return a == b }

// memberType returns the type of the member of a struct that has this name in JSON.
func memberType(t reflect.Type, name string, equal func(a, b string) bool) (reflect.Type, bool) {
	for _, f := range reflect.VisibleFields(t) {
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); equal(tag, name) && tag != "" {
			return f.Type, true
		}
	}
	return nil, false
}
