package selector

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/signer"
)

// maxSigningHelper is the maximum length of the text for [ParseSigningHelper],
// in bytes.
const maxSigningHelper = 2*maxDN + 4<<10

// signingHelperKeys maps the keys of aws_signing_helper to our attributes.
var signingHelperKeys = lookup.Table[string, string]{{"x509Subject", "subject"}, {"x509Issuer", "issuer"}, {"x509Serial", "serial"}}

// ParseSigningHelper parses the value of the flag --cert-selector of
// aws_signing_helper, such as
//
//	Key=x509Subject,Value=CN=app,O=Example Key=x509Serial,Value=15D1
//
// If the text begins with "[", it is JSON, as in a selector file of
// aws_signing_helper. The text must contain at least one of x509Subject,
// x509Issuer and x509Serial, and none twice.
func ParseSigningHelper(text string) (Selector, error) {
	if len(text) > maxSigningHelper {
		return Selector{}, fmt.Errorf("is longer than %d KiB", maxSigningHelper>>10)
	}
	text = strings.TrimLeft(strings.TrimPrefix(text, "\ufeff"), whitespace)
	parse := parseKeyValues
	if strings.HasPrefix(text, "[") {
		parse = parseJSON
	}
	all, err := parse(text)
	if err != nil {
		return Selector{}, err
	}
	var s Selector
	seen := make(map[string]bool)
	for _, kv := range all {
		name, ok := signingHelperKeys.Find(kv.Key)
		if !ok {
			return Selector{}, fmt.Errorf("key %.64q is not one of x509Subject, x509Issuer, x509Serial", kv.Key)
		}
		if seen[name] {
			return Selector{}, fmt.Errorf("key %s is given twice", kv.Key)
		}
		seen[name] = true
		if err := s.set(name, kv.Value); err != nil {
			return Selector{}, fmt.Errorf("%s %w", kv.Key, err)
		}
	}
	if len(seen) == 0 {
		return Selector{}, errors.New("contains no key")
	}
	return s, nil
}

type keyValue struct{ Key, Value string }

func parseJSON(text string) (all []keyValue, err error) {
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&all); err != nil {
		return nil, errors.New(`is not JSON of the form [{"Key": "x509Subject", "Value": "CN=app"}]`)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("has text after the JSON array")
	}
	return all, nil
}

// parseKeyValues splits text before each "Key=NAME,Value=" at its start or
// after whitespace. A value can contain whitespace, commas and equals signs.
func parseKeyValues(text string) (all []keyValue, err error) {
	for text != "" {
		key, rest, ok := cutKey(text)
		if !ok {
			return nil, signer.WithHint(errors.New("is not of the form Key=NAME,Value=VALUE"),
				`for example "Key=x509Subject,Value=CN=app Key=x509Issuer,Value=CN=Example CA"`)
		}
		end := 0
		for ; end < len(rest); end++ {
			if _, _, ok := cutKey(rest[end:]); ok && end > 0 && strings.IndexByte(whitespace, rest[end-1]) >= 0 {
				break
			}
		}
		all = append(all, keyValue{key, rest[:end]})
		text = rest[end:]
	}
	return all, nil
}

// maxSigningHelperKey bounds the length of a key, in bytes, and so the cost of
// the search for the next key.
const maxSigningHelperKey = 64

func cutKey(text string) (key, rest string, ok bool) {
	text, ok = strings.CutPrefix(text, "Key=")
	if !ok {
		return "", "", false
	}
	end := strings.IndexByte(text[:min(len(text), maxSigningHelperKey)], ',')
	if end < 0 || strings.ContainsAny(text[:end], whitespace+"=") {
		return "", "", false
	}
	rest, ok = strings.CutPrefix(text[end+1:], "Value=")
	return text[:end], rest, ok
}
