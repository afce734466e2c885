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
	// Attributes of the token, its slot and its module.
	Token, Manufacturer, Serial, Model                      string
	SlotDescription, SlotManufacturer, SlotID               string // SlotID in decimal
	LibraryManufacturer, LibraryDescription, LibraryVersion string

	// Attributes of the object.
	Object string // CKA_LABEL
	ID     string // CKA_ID, the bytes themselves
	Type   string // "private", "cert" or "public"

	// Query attributes: the PIN and the module.
	PINSource, PINValue    string
	ModuleName, ModulePath string
	Isolation              string // see [Isolation]
}

// A uriAttribute is an attribute of the grammar in RFC 7512, section 2.3.
type uriAttribute struct {
	name  string
	field func(*URI) *string
	check func(string) error // nil: checkText
}

// ParseURI parses a PKCS #11 URI. RFC 7512 allows readers to ignore unknown
// attributes; ParseURI refuses them, including vendor-specific attributes,
// because a URI with a mistyped attribute would match too much. Errors do not
// contain values of attributes.
func ParseURI(s string) (URI, error) {
	const scheme = "pkcs11:"
	if len(s) < len(scheme) || !strings.EqualFold(s[:len(scheme)], scheme) {
		return URI{}, errors.New("does not have the scheme pkcs11")
	}
	return parseURI(s[len(scheme):])
}

func parseURI(rest string) (u URI, err error) {
	path, query, _ := strings.Cut(rest, "?")
	if after, ok := strings.CutPrefix(path, "//"); ok && after != "" {
		return URI{}, signer.WithHint(errors.New("begins with //"), "write pkcs11: without // after it")
	}
	if err := u.parse(path, inPath); err != nil {
		return URI{}, err
	}
	if err := u.parse(query, inQuery); err != nil {
		return URI{}, err
	}
	switch {
	case u.PINSource != "" && u.PINValue != "":
		return URI{}, errors.New("contains both pin-source and pin-value")
	case u.ModuleName != "" && u.ModulePath != "":
		return URI{}, errors.New("contains both module-name and module-path")
	}
	return u, nil
}

// A uriComponent is the path or the query of a URI. extra contains the
// characters that are allowed only in its values (RFC 7512, section 2.3:
// pk11-pchar and pk11-qchar).
type uriComponent struct {
	attributes       []uriAttribute
	separator, extra string
	place            string // where the component stands
}

var inPath = uriComponent{[]uriAttribute{
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
}, ";", "&", `before "?", where ";" separates attributes`}

var inQuery = uriComponent{[]uriAttribute{
	{"pin-source", func(u *URI) *string { return &u.PINSource }, nil},
	{"pin-value", func(u *URI) *string { return &u.PINValue }, nil},
	{"module-name", func(u *URI) *string { return &u.ModuleName }, checkModuleName},
	{"module-path", func(u *URI) *string { return &u.ModulePath }, nil},
	{"isolation", func(u *URI) *string { return &u.Isolation }, checkIsolation},
}, "&", "/?|", `after "?", where "&" separates attributes`}

func (c uriComponent) find(name string) int {
	return slices.IndexFunc(c.attributes, func(a uriAttribute) bool { return a.name == name })
}

// parse parses the path or the query component.
func (u *URI) parse(component string, in uriComponent) error {
	if component == "" {
		return nil
	}
	seen := make(map[string]bool)
	for _, part := range strings.Split(component, in.separator) {
		name, raw, ok := strings.Cut(part, "=")
		if !ok || name == "" {
			return signer.WithHint(errors.New("contains a part that is not NAME=VALUE"),
				"write the label or the ID of the key, as in pkcs11:token=TOKEN;object=LABEL or pkcs11:token=TOKEN;id=%01")
		}
		i := in.find(name)
		if i < 0 {
			return misplaced(name, in)
		}
		if seen[name] {
			return fmt.Errorf("attribute %q occurs twice", name)
		}
		seen[name] = true
		if err := wrongSeparator(raw, in); err != nil {
			return err
		}
		known := in.attributes[i]
		value, err := decode(raw, in.extra)
		if err == nil {
			value = known.unpad(value)
			err = known.validate(value)
		}
		if err != nil {
			return fmt.Errorf("attribute %q %w", name, err)
		}
		*known.field(u) = value
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
		return errors.New("is not UTF-8 text")
	}
	return nil
}

// decode decodes percent-encoding. It refuses characters that the grammar
// requires to be percent-encoded.
func decode(raw, extra string) (string, error) {
	for _, c := range raw {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case strings.ContainsRune("-._~%:[]@!$'()*+,="+extra, c):
		case c == ' ':
			return "", signer.WithHint(errors.New("contains a space"), "write a space as %20")
		default:
			return "", fmt.Errorf("contains the character %q, which must be percent-encoded", c)
		}
	}
	value, err := url.PathUnescape(raw)
	if err != nil {
		return "", errors.New("contains an invalid percent-encoding; write % as %25")
	}
	return value, nil
}

func checkVersion(s string) error {
	numbers := strings.Split(s, ".")
	for _, n := range numbers {
		if _, err := strconv.ParseUint(n, 10, 8); err != nil || len(numbers) > 2 {
			return errors.New("is not a version number such as 2.40")
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

// checkModuleName accepts a file name without folder, "lib" and suffix.
func checkModuleName(s string) error {
	invalid := func(c rune) bool {
		return !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.ContainsRune("-_.+", c))
	}
	if strings.HasPrefix(s, ".") || strings.ContainsFunc(s, invalid) {
		return errors.New("is not a file name without folder")
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

// String returns u with the attributes in the order of RFC 7512. It replaces
// the value of pin-value by "…".
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
	write(inPath.attributes, ";", "-._~:@")
	separator = "?"
	write(inQuery.attributes, "&", "-._~:@/")
	return b.String()
}

// ref returns u as a reference. u must not have a pin-value.
func (u URI) ref() keystore.Ref {
	return keystore.Ref{Scheme: "pkcs11", Rest: strings.TrimPrefix(u.String(), "pkcs11:")}
}

// GoString keeps the PIN out of the format %#v.
func (u URI) GoString() string { return strconv.Quote(u.String()) }

// addToQuery adds an attribute to the query of a URI without scheme. It returns
// rest unchanged if the query already contains the attribute or excludedBy. It
// does not validate rest.
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
	return rest + name + "=" + queryValue(url.PathEscape(value))
}

// queryValue converts the result of [url.PathEscape] to a value in a query
// (RFC 7512, section 2.3: pk11-qchar).
func queryValue(escaped string) string {
	return strings.ReplaceAll(strings.ReplaceAll(escaped, "%2F", "/"), "&", "%26")
}

// encode percent-encodes all bytes except letters, digits and those in plain.
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
