package pkcs11

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A URI is a PKCS #11 URI (RFC 7512). An empty field matches anything.
type URI struct {
	// The token, and where it is.
	Token, Manufacturer, Serial, Model                      string
	SlotDescription, SlotManufacturer, SlotID               string // SlotID in decimal
	LibraryManufacturer, LibraryDescription, LibraryVersion string

	// The object on it.
	Object string // CKA_LABEL
	ID     string // CKA_ID, as bytes
	Type   string // "private", "cert" or "public"

	// How to reach it.
	PINSource, PINValue    string
	ModuleName, ModulePath string
}

// An attribute of the grammar: RFC 7512, section 2.3.
type uriAttribute struct {
	name  string
	field func(*URI) *string
	check func(string) error // nil: any text
}

var pathAttributes = []uriAttribute{
	{"token", func(u *URI) *string { return &u.Token }, nil},
	{"manufacturer", func(u *URI) *string { return &u.Manufacturer }, nil},
	{"serial", func(u *URI) *string { return &u.Serial }, nil},
	{"model", func(u *URI) *string { return &u.Model }, nil},
	{"library-manufacturer", func(u *URI) *string { return &u.LibraryManufacturer }, nil},
	{"library-description", func(u *URI) *string { return &u.LibraryDescription }, nil},
	{"library-version", func(u *URI) *string { return &u.LibraryVersion }, checkVersion},
	{"slot-description", func(u *URI) *string { return &u.SlotDescription }, nil},
	{"slot-manufacturer", func(u *URI) *string { return &u.SlotManufacturer }, nil},
	{"slot-id", func(u *URI) *string { return &u.SlotID }, checkSlotID},
	{"object", func(u *URI) *string { return &u.Object }, nil},
	{"type", func(u *URI) *string { return &u.Type }, checkType},
	{"id", func(u *URI) *string { return &u.ID }, func(string) error { return nil }},
}

var queryAttributes = []uriAttribute{
	{"pin-source", func(u *URI) *string { return &u.PINSource }, nil},
	{"pin-value", func(u *URI) *string { return &u.PINValue }, nil},
	{"module-name", func(u *URI) *string { return &u.ModuleName }, checkModuleName},
	{"module-path", func(u *URI) *string { return &u.ModulePath }, nil},
}

// ParseURI parses a PKCS #11 URI. Unlike the RFC, which lets a reader ignore
// what it does not know, it refuses attributes that are unknown, vendors' own
// included, since a mistyped name would widen what matches. Errors hold no
// value of an attribute.
func ParseURI(s string) (URI, error) {
	const scheme = "pkcs11:"
	if len(s) < len(scheme) || !strings.EqualFold(s[:len(scheme)], scheme) {
		return URI{}, errors.New("does not have the scheme pkcs11")
	}
	return parseURI(s[len(scheme):])
}

func parseURI(rest string) (u URI, err error) {
	path, query, _ := strings.Cut(rest, "?")
	if err := u.parse(path, ";", pathAttributes, "&"); err != nil {
		return URI{}, err
	}
	if err := u.parse(query, "&", queryAttributes, "/?|"); err != nil {
		return URI{}, err
	}
	switch {
	case u.PINSource != "" && u.PINValue != "":
		return URI{}, errors.New("has both pin-source and pin-value")
	case u.ModuleName != "" && u.ModulePath != "":
		return URI{}, errors.New("has both module-name and module-path")
	}
	return u, nil
}

// parse reads one component. Its values may hold the characters in extra beside
// the common ones (RFC 7512, section 2.3: pk11-pchar and pk11-qchar).
func (u *URI) parse(component, separator string, known []uriAttribute, extra string) error {
	if component == "" {
		return nil
	}
	seen := make(map[string]bool)
	for _, part := range strings.Split(component, separator) {
		name, raw, ok := strings.Cut(part, "=")
		if !ok || name == "" {
			return errors.New("has a part that is not NAME=VALUE")
		}
		i := slices.IndexFunc(known, func(a uriAttribute) bool { return a.name == name })
		if i < 0 {
			return fmt.Errorf("attribute %q is not one of %s", clip(name), names(known))
		}
		if seen[name] {
			return fmt.Errorf("attribute %q is given twice", name)
		}
		seen[name] = true
		value, err := decode(raw, extra)
		if err == nil {
			err = known[i].validate(value)
		}
		if err != nil {
			return fmt.Errorf("attribute %q %w", name, err)
		}
		*known[i].field(u) = value
	}
	return nil
}

func (a uriAttribute) validate(value string) error {
	if value == "" {
		return errors.New("is empty")
	}
	if a.check != nil {
		return a.check(value)
	}
	return checkText(value)
}

func checkText(s string) error {
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return errors.New("is not text in UTF-8")
	}
	return nil
}

// decode undoes percent-encoding and refuses characters that the grammar wants
// encoded.
func decode(raw, extra string) (string, error) {
	for _, c := range raw {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case strings.ContainsRune("-._~%:[]@!$'()*+,="+extra, c):
		case c == ' ':
			return "", signer.WithHint(errors.New("has a blank"), "write a blank as %20")
		default:
			return "", fmt.Errorf("has the character %q, which must be percent-encoded", c)
		}
	}
	value, err := url.PathUnescape(raw)
	if err != nil {
		return "", errors.New("has a wrong percent-encoding; write % as %25")
	}
	return value, nil
}

func checkVersion(s string) error {
	numbers := strings.Split(s, ".")
	for _, n := range numbers {
		if _, err := strconv.ParseUint(n, 10, 8); err != nil || len(numbers) > 2 {
			return errors.New("is not a version such as 2.40")
		}
	}
	return nil
}

func checkSlotID(s string) error {
	for _, c := range s {
		if c < '0' || c > '9' {
			return errors.New("is not a decimal number")
		}
	}
	if _, err := strconv.ParseUint(s, 10, strconv.IntSize); err != nil {
		return errors.New("is too large")
	}
	return nil
}

func checkType(s string) error {
	if s != "private" && s != "cert" && s != "public" {
		return errors.New("is not private, cert or public")
	}
	return nil
}

// checkModuleName takes what can stand between "lib" or nothing and ".so".
func checkModuleName(s string) error {
	for _, c := range s {
		if !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.ContainsRune("-_.+", c)) {
			return errors.New("is not the name of a file without folder")
		}
	}
	if strings.HasPrefix(s, ".") {
		return errors.New("is not the name of a file without folder")
	}
	return nil
}

func names(known []uriAttribute) string {
	all := make([]string, len(known))
	for i, a := range known {
		all[i] = a.name
	}
	return strings.Join(all, ", ")
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}

// String returns u in the order of the RFC's tables, fit to be pasted. The
// value of pin-value is left out.
func (u URI) String() string {
	var b strings.Builder
	b.WriteString("pkcs11:")
	separator := ""
	write := func(known []uriAttribute, next, plain string) {
		for _, a := range known {
			v := *a.field(&u)
			if v == "" {
				continue
			}
			b.WriteString(separator + a.name + "=")
			separator = next
			switch a.name {
			case "pin-value":
				b.WriteString("…")
			case "id":
				for i := range len(v) {
					b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{v[i]})))
				}
			default:
				b.WriteString(encode(v, plain))
			}
		}
	}
	write(pathAttributes, ";", "-._~:@")
	separator = "?"
	write(queryAttributes, "&", "-._~:@/")
	return b.String()
}

// ref returns u, which has no pin-value, as a reference.
func (u URI) ref() keystore.Ref {
	return keystore.Ref{Scheme: "pkcs11", Rest: strings.TrimPrefix(u.String(), "pkcs11:")}
}

// GoString keeps the PIN out of %#v.
func (u URI) GoString() string { return strconv.Quote(u.String()) }

// addToQuery adds an attribute to the rest of a URI, unless it has that or the
// one that excludes it, and leaves the rest as it is written, right or wrong.
func addToQuery(rest, name, value, excludedBy string) string {
	_, query, some := strings.Cut(rest, "?")
	for part := range strings.SplitSeq(query, "&") {
		if n, _, ok := strings.Cut(part, "="); ok && (n == name || n == excludedBy) {
			return rest
		}
	}
	switch {
	case !some:
		rest += "?"
	case query != "":
		rest += "&"
	}
	return rest + name + "=" + queryEscaper.Replace(url.PathEscape(value))
}

// attributeText makes a value of the query (RFC 7512, section 2.3: pk11-qchar)
// of a segment of a path.
var queryEscaper = strings.NewReplacer("%2F", "/", "&", "%26")

// encode leaves letters, digits and the characters in plain as they are.
func encode(s, plain string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}
