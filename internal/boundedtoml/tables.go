package boundedtoml

import (
	"fmt"
	"reflect"
	"strings"
)

// checkTables returns an error if a value that belongs to a map in t is not a
// table, which BurntSushi/toml ignores, or if two keys differ only in case, of which
// it takes any. raw is the decoded document or a part of it, and path its key.
func checkTables(t reflect.Type, raw any, path string) error {
	switch t.Kind() {
	case reflect.Pointer:
		return checkTables(t.Elem(), raw, path)
	case reflect.Map:
		if _, ok := raw.(map[string]any); !ok {
			return fmt.Errorf("%s is not a table; write it as %s = { KEY = VALUE }", path, path[strings.LastIndexByte(path, '.')+1:])
		}
	case reflect.Slice:
		return checkElements(t.Elem(), raw, path)
	case reflect.Struct:
		table, _ := raw.(map[string]any)
		for i := range t.NumField() {
			f := t.Field(i)
			name := f.Tag.Get("toml")
			if f.Anonymous && name == "" {
				if err := checkTables(f.Type, raw, path); err != nil {
					return err
				}
				continue
			}
			given := ""
			for key, value := range table { // the decoder ignores case
				if !strings.EqualFold(key, name) {
					continue
				}
				key = strings.TrimPrefix(path+"."+key, ".")
				if given != "" {
					return fmt.Errorf("%s and %s are the same key", min(given, key), max(given, key))
				}
				given = key
				if err := checkTables(f.Type, value, key); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func checkElements(t reflect.Type, raw any, path string) error {
	var all []any
	switch list := raw.(type) {
	case []any:
		all = list
	case []map[string]any:
		for _, table := range list {
			all = append(all, table)
		}
	}
	for _, element := range all {
		if err := checkTables(t, element, path); err != nil {
			return err
		}
	}
	return nil
}
