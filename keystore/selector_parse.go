package keystore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/signer"
)

// ParseSelector reads the attributes of a reference to an operating system's
// key store, NAME=VALUE with ";" between them: those of a [Selector] (subject,
// issuer, serial, sha256, sha1, newest) and those of own, which it returns as
// they are. Values may be percent-encoded; "%" and ";" must be. Attributes that
// are unknown, empty or given twice are refused. Errors do not name the
// reference.
func ParseSelector(rest string, own ...string) (s Selector, others map[string]string, err error) {
	others = make(map[string]string)
	if rest == "" {
		return s, others, nil
	}
	known := slices.Concat(own, SelectorAttributes())
	values, err := ParseAttributes(rest, known...)
	if err != nil {
		return Selector{}, nil, err
	}
	for _, name := range known {
		value, given := values[name]
		switch {
		case !given:
		case !utf8.ValidString(value):
			err = errNoText
		case slices.Contains(own, name):
			others[name] = value
		default:
			err = s.set(name, value)
		}
		if err != nil {
			return Selector{}, nil, fmt.Errorf("attribute %q %w", name, err)
		}
	}
	return s, others, nil
}

// maxCertSelector bounds the text of [ParseCertSelector], in bytes.
const maxCertSelector = 2*maxDN + 4<<10

// certSelectorKeys are aws_signing_helper's names.
var certSelectorKeys = map[string]string{"x509Subject": "subject", "x509Issuer": "issuer", "x509Serial": "serial"}

// ParseCertSelector reads what --cert-selector of aws_signing_helper takes, as
// it stands on its command line, such as
//
//	Key=x509Subject,Value=CN=app,O=Example Key=x509Serial,Value=15D1
//
// or, if it begins with "[", as the JSON that is in its file. At least one of
// x509Subject, x509Issuer and x509Serial is given, and none twice.
func ParseCertSelector(text string) (Selector, error) {
	if len(text) > maxCertSelector {
		return Selector{}, fmt.Errorf("is longer than %d KiB", maxCertSelector>>10)
	}
	text = strings.TrimLeft(strings.TrimPrefix(text, "\ufeff"), blanks)
	split := splitCertSelector
	if strings.HasPrefix(text, "[") {
		split = splitCertSelectorJSON
	}
	pairs, err := split(text)
	if err != nil {
		return Selector{}, err
	}
	var s Selector
	seen := make(map[string]bool)
	for _, p := range pairs {
		name, ok := certSelectorKeys[p.Key]
		if !ok {
			return Selector{}, fmt.Errorf("key %q is not one of x509Subject, x509Issuer, x509Serial", clip(p.Key))
		}
		if seen[name] {
			return Selector{}, fmt.Errorf("key %s is given twice", p.Key)
		}
		seen[name] = true
		if err := s.set(name, p.Value); err != nil {
			return Selector{}, fmt.Errorf("%s %w", p.Key, err)
		}
	}
	if len(seen) == 0 {
		return Selector{}, errors.New("selects nothing: it has no key")
	}
	return s, nil
}

type certSelectorPair struct{ Key, Value string }

func splitCertSelectorJSON(text string) (pairs []certSelectorPair, err error) {
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&pairs); err != nil {
		return nil, errors.New(`is not JSON of the form [{"Key": "x509Subject", "Value": "CN=app"}]`)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("goes on after the JSON array")
	}
	return pairs, nil
}

// splitCertSelector cuts at each "Key=NAME,Value=" that stands at the start or
// after a blank. A value may have blanks, commas and equals signs.
func splitCertSelector(text string) (pairs []certSelectorPair, err error) {
	for text != "" {
		key, rest, ok := cutKey(text)
		if !ok {
			return nil, signer.WithHint(errors.New("is not of the form Key=NAME,Value=VALUE"),
				`an example: "Key=x509Subject,Value=CN=app Key=x509Issuer,Value=CN=Example CA"`)
		}
		end := 0
		for ; end < len(rest); end++ {
			if _, _, ok := cutKey(rest[end:]); ok && end > 0 && strings.IndexByte(blanks, rest[end-1]) >= 0 {
				break
			}
		}
		pairs = append(pairs, certSelectorPair{key, rest[:end]})
		text = rest[end:]
	}
	return pairs, nil
}

// maxCertSelectorKey bounds a key, so that looking for the next one is cheap.
const maxCertSelectorKey = 64

func cutKey(text string) (key, rest string, ok bool) {
	text, ok = strings.CutPrefix(text, "Key=")
	if !ok {
		return "", "", false
	}
	end := strings.IndexByte(text[:min(len(text), maxCertSelectorKey)], ',')
	if end < 0 || strings.ContainsAny(text[:end], blanks+"=") {
		return "", "", false
	}
	rest, ok = strings.CutPrefix(text[end+1:], "Value=")
	return text[:end], rest, ok
}
