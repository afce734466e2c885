package keystore

import (
	"encoding/base64"
	"strings"
)

const (
	minKeyText  = 40 // characters; a private key of Ed25519 in PKCS #8 has 64
	maxBareName = 60 // characters of a name without a separator or a dot
	fingerprint = 43 // characters of a SHA-256 fingerprint of OpenSSH, which begins like a key by chance
)

// keyText returns the place of text in s that is a key or certificate in base64 or
// base64url (RFC 4648): DER, or PEM that was encoded once more. Without such text,
// start is -1.
func keyText(s string) (start, end int) {
	for start = 0; start < len(s); start = end + 1 {
		end = start
		for end < len(s) && isBase64(s[end]) {
			end++
		}
		if encodesKey(s[start:end]) {
			return start, end
		}
	}
	return -1, -1
}

func containsKey(s string) bool { start, _ := keyText(s); return start >= 0 }

// isBase64 reports whether c belongs to base64 or base64url, apart from the padding.
func isBase64(c byte) bool {
	return isLetter(c) || '0' <= c && c <= '9' || strings.IndexByte("+/-_", c) >= 0
}

// encodesKey reports whether s begins like the base64 of a PEM block, or of a DER
// SEQUENCE whose content begins like that of a key or certificate.
func encodesKey(s string) bool {
	if len(s) < minKeyText || len(s) == fingerprint {
		return false
	}
	s = strings.NewReplacer("-", "+", "_", "/").Replace(s[:minKeyText])
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return false
	}
	if strings.HasPrefix(string(b), pemBegin) {
		return true
	}
	const sequence, integer, oid, longForm, indefinite = 0x30, 0x02, 0x06, 0x80, 0x80
	if b[0] != sequence {
		return false
	}
	content := b[2:]
	if b[1] > longForm {
		content = content[min(b[1]-longForm, 4):]
	}
	return b[1] == indefinite || content[0] == integer || content[0] == oid || content[0] == sequence
}

// looksLikeKey reports whether a name can be a key as text: it contains [keyText],
// or it is long, has capital and small letters or digits like a random text in base64
// or hexadecimal, and has neither a dot nor the shape of a path.
func looksLikeKey(name string) bool {
	if containsKey(name) {
		return true
	}
	name = strings.TrimRight(name, "=")
	if len(name) <= maxBareName || name[0] == '/' {
		return false
	}
	var upper, lower, digit, slash int
	for i := range len(name) {
		switch c := name[i]; {
		case !isBase64(c):
			return false
		case c == '/':
			slash = 1
		case '0' <= c && c <= '9':
			digit = 1
		case 'a' <= c && c <= 'z':
			lower = 1
		case 'A' <= c && c <= 'Z':
			upper = 1
		}
	}
	return upper+lower+digit >= 2+slash
}
