package selector

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

// maxSigningHelper bounds the text of [ParseSigningHelper], in bytes.
const maxSigningHelper = 2*maxDN + 4<<10

// signingHelperKeys are aws_signing_helper's names.
var signingHelperKeys = map[string]string{"x509Subject": "subject", "x509Issuer": "issuer", "x509Serial": "serial"}

// ParseSigningHelper reads what --cert-selector of aws_signing_helper takes, as
// it stands on its command line, such as
//
//	Key=x509Subject,Value=CN=app,O=Example Key=x509Serial,Value=15D1
//
// or, if it begins with "[", as the JSON that is in its file. At least one of
// x509Subject, x509Issuer and x509Serial is given, and none twice.
func ParseSigningHelper(text string) (Selector, error) {
	if len(text) > maxSigningHelper {
		return Selector{}, fmt.Errorf("is longer than %d KiB", maxSigningHelper>>10)
	}
	text = strings.TrimLeft(strings.TrimPrefix(text, "\ufeff"), blanks)
	split := splitPairs
	if strings.HasPrefix(text, "[") {
		split = splitJSON
	}
	pairs, err := split(text)
	if err != nil {
		return Selector{}, err
	}
	var s Selector
	seen := make(map[string]bool)
	for _, p := range pairs {
		name, ok := signingHelperKeys[p.Key]
		if !ok {
			return Selector{}, fmt.Errorf("key %.64q is not one of x509Subject, x509Issuer, x509Serial", p.Key)
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

type pair struct{ Key, Value string }

func splitJSON(text string) (pairs []pair, err error) {
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

// splitPairs cuts at each "Key=NAME,Value=" that stands at the start or
// after a blank. A value may have blanks, commas and equals signs.
func splitPairs(text string) (pairs []pair, err error) {
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
		pairs = append(pairs, pair{key, rest[:end]})
		text = rest[end:]
	}
	return pairs, nil
}

// maxSigningHelperKey bounds a key, so that looking for the next one is cheap.
const maxSigningHelperKey = 64

func cutKey(text string) (key, rest string, ok bool) {
	text, ok = strings.CutPrefix(text, "Key=")
	if !ok {
		return "", "", false
	}
	end := strings.IndexByte(text[:min(len(text), maxSigningHelperKey)], ',')
	if end < 0 || strings.ContainsAny(text[:end], blanks+"=") {
		return "", "", false
	}
	rest, ok = strings.CutPrefix(text[end+1:], "Value=")
	return text[:end], rest, ok
}
