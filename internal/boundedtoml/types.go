package boundedtoml

import (
	"cmp"
	"regexp"
)

var incompatible = regexp.MustCompile(`incompatible types: TOML value has type (\w+); destination has type (\w+)`)

// forms describe the values of a Go type in TOML.
var forms = map[string]string{
	"slice":   `a list, such as ["a", "b"]`,
	"string":  `a text in quotation marks, such as "a"`,
	"boolean": "true or false",
	"integer": "a whole number",
	"float":   "a number",
}

// A typeError is an error about the type of a value, in the words of TOML instead
// of Go.
type typeError struct{ err error }

func (e *typeError) Error() string {
	return incompatible.ReplaceAllStringFunc(e.err.Error(), func(text string) string {
		to := incompatible.FindStringSubmatch(text)[2]
		return "the value must be " + cmp.Or(forms[to], "a "+to)
	})
}

func (e *typeError) Unwrap() error { return e.err }
