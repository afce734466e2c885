package keystore

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/lookup"
)

// Excerpt returns the part of a text from a user that an error may show. The text
// can be a reference that is invalid or in the wrong place, so the result has no
// PIN, and it is short. Text of several lines can be the inside of a PEM block, so
// little of it is shown.
func Excerpt(s string) string {
	if strings.Contains(s, pemBegin) {
		return pemBegin + " …"
	}
	const singleLine, multiLine = 256, 8 // bytes
	s, limit := withoutKey(redact(strings.TrimRight(s, "\r\n"))), singleLine
	if i := strings.IndexAny(s, "\x00\r\n"); i >= 0 {
		s, limit = s[:i]+"…", multiLine
	}
	if name, _, ok := strings.Cut(s, "="); ok && hidesValue(name) {
		s = name + "=…"
	}
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// hidesValue reports whether the value of NAME=VALUE can be a secret: NAME is that
// of a variable after env:, or suggests a secret and is not part of a path.
func hidesValue(name string) bool {
	scheme, _, _ := cutScheme(name)
	return scheme == SchemeEnv || !strings.ContainsAny(name, `/\:`) && suggestsSecret(attributeName(name))
}

// withoutKey cuts s off before a key as text. Before such text it keeps a scheme
// or the name of an attribute.
func withoutKey(s string) string {
	if start, _ := keyText(s); start >= 0 {
		return s[:start] + "…"
	}
	scheme, rest, _ := cutScheme(s)
	if _, known := attributeNames.Find(scheme); !known && looksLikeKey(rest) {
		return scheme + ":…"
	}
	if looksLikeKey(s) {
		return "…"
	}
	return s
}

// Redact returns a message without the keys as text that it contains, and without
// the PINs in the references that it quotes: it cuts off the values of pin-value
// attributes and the passwords after pass:, up to the end of the quotation. It is a
// last resort: a [Ref] prints without a PIN, and [Excerpt] shortens other texts.
func Redact(message string) string {
	for start, end := keyText(message); start >= 0; start, end = keyText(message) {
		message = message[:start] + "…" + message[end:]
	}
	var b strings.Builder
	quoted := false
	for i := 0; i < len(message); {
		n := 0
		if i == 0 || strings.IndexByte(nameStarts+`:="'(`, message[i-1]) >= 0 {
			n = max(encodedPrefixLen(message[i:], "pin-value="), encodedPrefixLen(message[i:], "pass:"))
		}
		if rest := message[i+n:]; n > 0 && rest != "" && !strings.HasPrefix(rest, "…") && !strings.ContainsAny(rest[:1], " \t\"'") {
			b.WriteString(message[i:i+n] + "…")
			i += n
			for i < len(message) && !(quoted && message[i] == '"') {
				if message[i] == '\\' {
					i++
				}
				i++
			}
			continue
		}
		switch message[i] {
		case '\\':
			b.WriteByte(message[i])
			i++
		case '"':
			quoted = !quoted
		}
		if i < len(message) {
			b.WriteByte(message[i])
			i++
		}
	}
	return b.String()
}

// nameStarts are the characters before the name of an attribute: the separators
// of references, and those that a user could mistake for one.
const nameStarts = "?;&,# \t"

// redact cuts s off after the name of a pin-value attribute in any encoding.
// The attributes after it are lost, because a PIN can contain their separator.
// The same text in the value of another attribute is not a name, except in a
// PIN source, which is itself a reference. Except in a path, redact also cuts
// off the value of an attribute that does not exist, such as user-pin=.
func redact(s string) string {
	scheme, _, ok := cutScheme(s)
	path := !ok || scheme == SchemeFile
	if slices.Contains(secretSchemes, scheme) {
		return s[:len(scheme)+1] + "…"
	}
	for i := 0; i < len(s); {
		part := s[i:]
		if n := strings.IndexAny(part, nameStarts); n >= 0 {
			part = part[:n]
		}
		name, _, _ := strings.Cut(part, "=")
		end := len(name)
		switch bare := attributeName(name); {
		case strings.HasSuffix(bare, "-source"):
			end = len(part)
		case !path && (i == 0 || strings.IndexByte("?;&", s[i-1]) >= 0) && end < len(part) && !isAttribute(scheme, bare):
			return s[:i+end+1] + "…"
		}
		for j := range end {
			if j > 0 && j < len(name) && name[j-1] != ':' { // after a scheme
				continue
			}
			if n := encodedPrefixLen(s[i+j:], "pin-value="); n > 0 {
				return s[:i+j+n] + "…"
			}
		}
		i += len(part) + 1
	}
	return s
}

// secretSchemes are what other programs write before a secret itself, as in
// pass:PASSWORD of OpenSSL.
var secretSchemes = []string{"pass", "password", "passphrase", "pin", "secret"}

// attributeName decodes the name of an attribute, without the scheme before it.
func attributeName(s string) string {
	if decoded, err := url.PathUnescape(s); err == nil {
		s = decoded
	}
	return strings.ToLower(s[strings.LastIndexByte(s, ':')+1:])
}

// suggestsSecret reports whether a user could take name for that of a PIN, a
// password or a key.
func suggestsSecret(name string) bool {
	return slices.ContainsFunc([]string{"pin", "pass", "secret", "key", "token", "auth", "code", "credential"}, func(word string) bool {
		return strings.Contains(name, word)
	})
}

// attributeNames has the attributes of the schemes whose references consist of
// attributes. The value of any other attribute can be a secret under the name that
// another program gives it.
var attributeNames = lookup.Table[string, []string]{
	{"pkcs11", []string{
		"token", "manufacturer", "serial", "model", "library-manufacturer", "library-description", "library-version", "slot-description", "slot-manufacturer", "slot-id",
		"object", "type", "id", "pin-source", "pin-value", "module-name", "module-path", "isolation",
	}},
	{"exec", []string{"program", "key", "pin-source"}},
	{"tpm", []string{"path", "handle", "device", "pin-source", "pin-value", "parent-auth-source", "parent", "pcrs"}},
	{"winstore", []string{"subject", "issuer", "serial", "sha256", "sha1", "newest", "location", "store", "ui", "key", "provider"}},
	{"keychain", []string{"subject", "issuer", "serial", "sha256", "sha1", "newest", "label", "token"}},
	{"sshagent", []string{"sha256", "comment", "public", "socket"}},
	{"spiffe", []string{"socket", "id", "hint"}},
}

// isAttribute reports whether references of a scheme have an attribute. For the
// schemes that are not in [attributeNames], it assumes so unless the name suggests
// a secret and no other scheme has it.
func isAttribute(scheme, name string) bool {
	if known, ok := attributeNames.Find(scheme); ok {
		return slices.Contains(known, name)
	}
	for _, of := range attributeNames {
		if slices.Contains(of.Value, name) {
			return true
		}
	}
	return !suggestsSecret(name)
}

// encodedPrefixLen returns the length of the prefix of s that is equal to name
// in any case, with any percent-encoding, and with spaces or tabs before "=".
// It returns 0 if s does not begin with name.
func encodedPrefixLen(s, name string) int {
	n := 0
	for name != "" && n < len(s) {
		c := s[n]
		n++
		if c == '%' && len(s) >= n+2 {
			if v, err := strconv.ParseUint(s[n:n+2], 16, 8); err == nil {
				c = byte(v)
				n += 2
			}
		}
		switch {
		case c|0x20 == name[0]:
			name = name[1:]
		case name != "=" || c != ' ' && c != '\t':
			return 0
		}
	}
	if name != "" {
		return 0
	}
	return n
}
