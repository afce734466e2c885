package keystore

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/signer"
)

// ParseAttributes parses the rest of a reference that has the form NAME=VALUE;…
// with percent-encoded values, such as tpm:handle=0x81010002;device=/dev/tpm0.
// Each name must be one of known, must not occur twice, and must have a value.
// Errors contain neither a value nor text that can be part of a PIN.
func ParseAttributes(rest string, known ...string) (map[string]string, error) {
	values := make(map[string]string)
	for _, part := range strings.Split(rest, ";") {
		name, raw, ok := strings.Cut(part, "=")
		if !ok || name == "" {
			return nil, signer.WithHint(errors.New("contains a part that is not NAME=VALUE"), "write attributes as NAME=VALUE;NAME=VALUE, and a ; in a value as %3B")
		}
		if !slices.Contains(known, name) {
			if values["pin-value"] != "" {
				return nil, errors.New("contains an unknown attribute after pin-value; write ; in a PIN as %3B")
			}
			err := fmt.Errorf("attribute %q is not one of %s", truncate(name), strings.Join(known, ", "))
			if i := slices.IndexFunc(known, func(k string) bool { return plain(k) == plain(name) }); i >= 0 {
				err = signer.WithHint(err, "did you mean "+known[i]+"?")
			}
			return nil, err
		}
		if _, ok := values[name]; ok {
			return nil, fmt.Errorf("attribute %q is given twice", name)
		}
		value, err := url.PathUnescape(raw)
		switch {
		case err != nil:
			return nil, fmt.Errorf("attribute %q has an invalid percent-encoding; write %% as %%25", name)
		case value == "":
			return nil, fmt.Errorf("attribute %q is empty", name)
		case strings.ContainsAny(value, "\x00\r\n"):
			return nil, fmt.Errorf("attribute %q contains a control character", name)
		}
		values[name] = value
	}
	return values, nil
}

// plain returns a name as it is compared with one that a person has mistyped.
func plain(name string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "", ".", "").Replace(name))
}

// WithAttribute appends an attribute to ref, which has the form NAME=VALUE;….
// It returns ref unchanged if ref already has the attribute or one of
// excludedBy.
func WithAttribute(ref Ref, name, value string, excludedBy ...string) Ref {
	for part := range strings.SplitSeq(ref.Rest, ";") {
		if n, _, ok := strings.Cut(part, "="); ok && (n == name || slices.Contains(excludedBy, n)) {
			return ref
		}
	}
	if ref.Rest != "" {
		ref.Rest += ";"
	}
	ref.Rest += FormatAttribute(name, value)
	return ref
}

// sourceSuffix ends the names of the attributes that are PIN sources.
const sourceSuffix = "-source"

// RebaseAttributes returns ref with the relative paths in the attributes fileNames
// resolved against dir. It is for a [Rebaser] whose references consist of
// attributes NAME=VALUE.
func RebaseAttributes(ref Ref, dir string, fileNames ...string) Ref {
	return mapAttributes(ref, func(name, value string) string {
		if !slices.Contains(fileNames, name) || value == "" || filepath.IsAbs(value) {
			return value
		}
		return filepath.Join(dir, value)
	})
}

// mapAttributes returns ref with change applied to each decoded value of its
// attributes NAME=VALUE, which any of ?, ; and & separate. It keeps the text of
// the others, also if it is malformed.
func mapAttributes(ref Ref, change func(name, value string) string) Ref {
	const separators = "?;&"
	var b strings.Builder
	for rest := ref.Rest; rest != ""; {
		part := rest
		if i := strings.IndexAny(rest, separators); i >= 0 {
			part = rest[:i]
		}
		name, raw, _ := strings.Cut(part, "=")
		value, err := url.PathUnescape(raw)
		if changed := change(name, value); err == nil && changed != value {
			b.WriteString(name + "=" + percentEncode(changed, separators+"%# \t,"))
		} else {
			b.WriteString(part)
		}
		rest = rest[len(part):]
		if rest != "" {
			b.WriteByte(rest[0])
			rest = rest[1:]
		}
	}
	ref.Rest = b.String()
	return ref
}

// UsesOfAttributes returns the [Uses] of a reference whose rest consists of
// attributes NAME=VALUE, separated by any character in separators. The
// attributes in fileNames name files. Attributes whose name ends in "-source"
// are PIN sources. Malformed attributes are ignored.
func UsesOfAttributes(rest, separators string, fileNames ...string) (u Uses) {
	for _, part := range strings.FieldsFunc(rest, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		name, raw, _ := strings.Cut(part, "=")
		value, err := url.PathUnescape(raw)
		switch {
		case err != nil || value == "":
		case slices.Contains(fileNames, name):
			u.Files = append(u.Files, value)
		case strings.HasSuffix(name, sourceSuffix):
			if source, err := ParseRef(value); err == nil {
				u.PINSources = append(u.PINSources, source)
			}
		}
	}
	return u
}

// FormatAttribute returns NAME=VALUE, with the value encoded for
// [ParseAttributes]. The result consists of printable characters.
func FormatAttribute(name, value string) string {
	special := ";%"
	if text := "x-ref:" + name + "=" + value; redact(text) != text {
		special += nameStarts // so that no part of the value looks like pin-value
	}
	return name + "=" + percentEncode(value, special)
}

// percentEncode percent-encodes the characters in special and all that are not
// printable: control characters, those that change the direction of text, and
// invalid UTF-8.
func percentEncode(s, special string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 || !unicode.IsPrint(r) || strings.ContainsRune(special, r) {
			for _, c := range []byte(s[:n]) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// truncate shortens input that becomes part of an error.
func truncate(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
