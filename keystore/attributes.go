package keystore

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

// ParseAttributes splits the rest of a reference of the form NAME=VALUE;…,
// with percent-encoded values, as in tpm:handle=0x81010002;device=/dev/tpm0.
// Only the known names are understood, each at most once, and never without a
// value. Errors hold no value, nor what may be a part of a PIN.
func ParseAttributes(rest string, known ...string) (map[string]string, error) {
	values := make(map[string]string)
	for _, part := range strings.Split(rest, ";") {
		name, raw, ok := strings.Cut(part, "=")
		if !ok || name == "" {
			return nil, signer.WithHint(errors.New("has a part that is not NAME=VALUE"), "attributes are NAME=VALUE with ; between them; a ; within a value is written %3B")
		}
		if !slices.Contains(known, name) {
			if values["pin-value"] != "" {
				return nil, errors.New("has an unknown attribute after pin-value; write ; in a PIN as %3B")
			}
			return nil, fmt.Errorf("attribute %q is not one of %s", clip(name), strings.Join(known, ", "))
		}
		if _, ok := values[name]; ok {
			return nil, fmt.Errorf("attribute %q is given twice", name)
		}
		value, err := url.PathUnescape(raw)
		switch {
		case err != nil:
			return nil, fmt.Errorf("attribute %q has a wrong percent-encoding; write %% as %%25", name)
		case value == "":
			return nil, fmt.Errorf("attribute %q is empty", name)
		case strings.ContainsAny(value, "\x00\r\n"):
			return nil, fmt.Errorf("attribute %q contains a control character", name)
		}
		values[name] = value
	}
	return values, nil
}

// WithAttribute returns ref, of the form NAME=VALUE;…, with one more attribute
// at its end. A ref that has the attribute, or one of those that exclude it, is
// returned as it is.
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

// UsesOfAttributes returns what a reference uses whose rest consists of
// attributes NAME=VALUE with one of the characters in separators between them:
// the files that the attributes in fileNames name, and as PIN sources the
// references in all attributes whose name ends in "-source". What is malformed
// is passed over.
func UsesOfAttributes(rest, separators string, fileNames ...string) (u Uses) {
	for _, part := range strings.FieldsFunc(rest, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		name, raw, _ := strings.Cut(part, "=")
		value, err := url.PathUnescape(raw)
		switch {
		case err != nil || value == "":
		case slices.Contains(fileNames, name):
			u.Files = append(u.Files, value)
		case strings.HasSuffix(name, "-source"):
			if source, err := ParseRef(value); err == nil {
				u.PINSources = append(u.PINSources, source)
			}
		}
	}
	return u
}

// FormatAttribute writes one attribute as [ParseAttributes] takes it.
func FormatAttribute(name, value string) string {
	var b strings.Builder
	b.WriteString(name + "=")
	for i := range len(value) {
		if c := value[i]; c == '%' || c == ';' || c < 0x20 || c == 0x7f {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// clip keeps an error short whose text may be anything.
func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
