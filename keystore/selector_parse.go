package keystore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
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
	seen := make(map[string]bool)
	for _, part := range strings.Split(rest, ";") {
		name, raw, ok := strings.Cut(part, "=")
		if !ok || name == "" {
			return Selector{}, nil, signer.WithHint(errors.New("has a part that is not NAME=VALUE"), "write ; within a value as %3B")
		}
		if !slices.Contains(known, name) {
			return Selector{}, nil, fmt.Errorf("attribute %q is not one of %s", clip(name), strings.Join(known, ", "))
		}
		if seen[name] {
			return Selector{}, nil, fmt.Errorf("attribute %q is given twice", name)
		}
		seen[name] = true
		value, err := decodeAttribute(raw)
		switch {
		case err != nil:
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

func decodeAttribute(raw string) (string, error) {
	value, err := url.PathUnescape(raw)
	switch {
	case err != nil:
		return "", errors.New("has a wrong percent-encoding; write % as %25")
	case value == "":
		return "", errors.New("is empty")
	case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
		return "", errNoText
	}
	return value, nil
}

// EncodeAttribute writes a value as [ParseSelector] takes it.
func EncodeAttribute(value string) string {
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; c == '%' || c == ';' || c < 0x20 || c == 0x7f {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
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
