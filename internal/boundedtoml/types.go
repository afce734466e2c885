package boundedtoml

import (
	"cmp"

	"github.com/holdfast-dev/holdfast/internal/lazyregexp"
	"github.com/holdfast-dev/holdfast/internal/lookup"
)

var (
	incompatible = lazyregexp.Regexp{Expression: `incompatible types: TOML value has type (\S+); destination has type (\w+)`}
	mismatch     = lazyregexp.Regexp{Expression: `type mismatch for .+: expected table but found (\S+)`}
	unquoted     = lazyregexp.Regexp{Expression: `expected value but found (.*) instead`}
	defined      = lazyregexp.Regexp{Expression: `Key '(.*)' has already been defined\.`}
	lastKey      = lazyregexp.Regexp{Expression: `\(last key "(.*?)"\)`}
)

// forms describe the values of a Go type in TOML.
var forms = lookup.Table[string, string]{
	{"slice", `a list, such as ["a", "b"]`},
	{"string", `a text in quotation marks, such as "a"`},
	{"boolean", "true or false"},
	{"integer", "a whole number"},
	{"float", "a number"},
}

// A typeError is an error of the decoder, about the type of a value in the words of
// TOML instead of Go.
type typeError struct{ err error }

func (e *typeError) Error() string {
	text := defined.Get().ReplaceAllString(e.err.Error(), "$1 is given twice")
	key := lastKey.Get().FindStringSubmatch(text)
	text = mismatch.Get().ReplaceAllStringFunc(text, func(text string) string {
		if from := mismatch.Get().FindStringSubmatch(text)[1]; from == "[]map[string]any" && key != nil {
			return "it can be given only once: write [" + key[1] + "], with single brackets"
		}
		return "the value must be a table of keys and values"
	})
	text = unquoted.Get().ReplaceAllStringFunc(text, func(text string) string {
		if unquoted.Get().FindStringSubmatch(text)[1] == `'\n'` {
			return "the value is missing"
		}
		return `put texts in quotation marks, such as "a"; only numbers, true and false have none`
	})
	return incompatible.Get().ReplaceAllStringFunc(text, func(text string) string {
		types := incompatible.Get().FindStringSubmatch(text)
		if from, to := types[1], types[2]; from == "map[string]any" && to == "slice" && key != nil {
			return "the value must be a list: write sections as [[" + key[1] + `]], with two brackets, and texts as ["a", "b"]`
		}
		return "the value must be " + cmp.Or(forms.Get(types[2]), "a "+types[2])
	})
}

func (e *typeError) Unwrap() error { return e.err }
