// Package armor removes the text encodings that programs, shells and secret stores
// put around PEM and DER.
package armor

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// maxLayers bounds the number of encodings around each other.
const maxLayers = 4

var (
	pemBegin = []byte("-----BEGIN ")
	// keyStores are the bytes at the start of JKS and JCEKS.
	keyStores = [][]byte{[]byte("\xfe\xed\xfe\xed"), []byte("\xce\xce\xce\xce")}
)

// Decode returns PEM, DER or a Java key store without the encodings around it:
// UTF-16, UTF-32, base64, a data URL (RFC 2397) and percent-encoding. It removes a
// byte order mark and restores the line ends of PEM. It returns other data as they
// are. The result can share memory with data. IsBase64 reports whether data were
// base64 that base64 -d decodes.
func Decode(data []byte) (result []byte, isBase64 bool) {
	data = trimMark(data)
	inner, decoded := data, false
	for range maxLayers {
		next, ok := layer(inner)
		if !ok {
			break
		}
		inner, decoded = trimMark(next), true
	}
	if decoded {
		if _, more := layer(inner); more || !isKnown(inner) {
			return data, false
		}
		_, isBase64 = decodeBase64(data)
		isBase64 = isBase64 && !bytes.ContainsAny(data, "-_")
	}
	if bytes.Contains(inner, pemBegin) {
		inner = restoreLineEnds(inner)
	}
	return inner, isBase64
}

// Text returns text in UTF-8 without a byte order mark. It accepts UTF-16 and UTF-32.
// The result can share memory with data.
func Text(data []byte) []byte {
	if text, ok := fromWide(data); ok {
		data = text
	}
	return trimMark(data)
}

// trimMark removes byte order marks, which editors on Windows write.
func trimMark(data []byte) []byte {
	for mark := []byte("\ufeff"); bytes.HasPrefix(data, mark); {
		data = data[len(mark):]
	}
	return data
}

// isKnown reports whether data are PEM, whole DER or a Java key store.
func isKnown(data []byte) bool {
	in := cryptobyte.String(data)
	var whole cryptobyte.String
	return bytes.Contains(data, pemBegin) ||
		in.ReadASN1Element(&whole, asn1.SEQUENCE) && len(bytes.Trim(in, "\r\n\x00")) == 0 ||
		bytes.HasPrefix(data, []byte{0x30, 0x80}) && bytes.HasSuffix(data, []byte{0, 0}) || // BER
		slices.ContainsFunc(keyStores, func(magic []byte) bool { return bytes.HasPrefix(data, magic) })
}

// layer removes the outermost encoding.
func layer(data []byte) ([]byte, bool) {
	if text, ok := fromWide(data); ok {
		return text, true
	}
	unescape := url.PathUnescape
	switch {
	case bytes.Contains(data, pemBegin), bytes.HasPrefix(data, []byte{0x30}):
		return nil, false
	case bytes.Contains(data, []byte("-----BEGIN+")):
		unescape = url.QueryUnescape
		fallthrough
	case bytes.Contains(data, []byte("-----BEGIN%20")):
		text, err := unescape(string(data))
		return []byte(text), err == nil
	}
	text := bytes.TrimSpace(data)
	if bytes.HasPrefix(text, []byte("data:")) {
		_, text, _ = bytes.Cut(text, []byte(";base64,"))
	}
	return decodeBase64(text)
}

// wideEncodings are UTF-32 and UTF-16, with their byte order marks.
var wideEncodings = []struct {
	mark string
	size int // of a unit, in bytes
	big  bool
}{
	{"\xff\xfe\x00\x00", 4, false},
	{"\x00\x00\xfe\xff", 4, true},
	{"\xff\xfe", 2, false},
	{"\xfe\xff", 2, true},
}

// fromWide converts text to UTF-8 that begins with the mark of a wide encoding, or
// with ASCII characters in it.
func fromWide(data []byte) ([]byte, bool) {
	const enough = 4 // characters
	for _, e := range wideEncodings {
		body, marked := bytes.CutPrefix(data, []byte(e.mark))
		if len(body) < enough*e.size {
			continue
		}
		var order binary.ByteOrder = binary.LittleEndian
		if e.big {
			order = binary.BigEndian
		}
		unit := func(i int) uint32 {
			if e.size == 2 {
				return uint32(order.Uint16(body[2*i:]))
			}
			return order.Uint32(body[4*i:])
		}
		for i := 0; !marked && i < enough; i++ {
			if c := unit(i); c != '\t' && c != '\n' && c != '\r' && (c < ' ' || c > '~') {
				break
			}
			marked = i == enough-1
		}
		if !marked {
			continue
		}
		runes := make([]rune, len(body)/e.size)
		units := make([]uint16, len(runes))
		for i := range runes {
			runes[i], units[i] = rune(unit(i)), uint16(unit(i))
		}
		if e.size == 2 {
			runes = utf16.Decode(units)
		}
		return []byte(string(runes)), true
	}
	return nil, false
}

// decodeBase64 decodes base64 (RFC 4648, sections 4 and 5) with white space and
// with or without padding.
func decodeBase64(text []byte) ([]byte, bool) {
	joined := bytes.TrimRight(bytes.Join(bytes.Fields(text), nil), "=")
	encoding := base64.RawStdEncoding
	if bytes.ContainsAny(joined, "-_") {
		encoding = base64.RawURLEncoding
	}
	decoded, err := encoding.AppendDecode(nil, joined)
	return decoded, err == nil && len(decoded) > 1
}

const (
	maxLabel = 64      // bytes
	maxBlock = 1 << 20 // bytes
)

// unescape decodes the characters in the body of a PEM block that JSON, HTML or a
// URL escapes, also if they were escaped more than once.
func unescape(body []byte) []byte {
	if !bytes.ContainsAny(body, `\%&`) {
		return body
	}
	out := make([]byte, 0, len(body))
	for len(body) > 0 {
		c, n := character(body)
		out, body = append(out, c), body[n:]
	}
	return out
}

// character returns the first character of text, and its length in text, in bytes.
func character(text []byte) (c byte, n int) {
	number, base := "", 16
	switch text[0] {
	case '\\':
		rest := bytes.TrimLeft(text, `\`)
		n = len(text) - len(rest)
		switch {
		case bytes.HasPrefix(rest, []byte("r")), bytes.HasPrefix(rest, []byte("n")):
			return '\n', n + 1
		case bytes.HasPrefix(rest, []byte("/")):
			return '/', n + 1
		case bytes.HasPrefix(rest, []byte("u00")) && len(rest) >= 5:
			if value, err := strconv.ParseUint(string(rest[3:5]), 16, 8); err == nil {
				return byte(value), n + 5
			}
		}
		return '\\', n // at once, because there can be many
	case '%':
		if n = 3; len(text) >= n {
			number = string(text[1:n])
		}
	case '&':
		const longest = len("&#x0A;")
		entity, _, ok := bytes.Cut(text[:min(len(text), longest)], []byte(";"))
		if digits, isNumber := strings.CutPrefix(string(entity), "&#"); ok && isNumber {
			number, n = strings.TrimLeft(digits, "xX"), len(entity)+1
			if number == digits {
				base = 10
			}
		}
	}
	if value, err := strconv.ParseUint(number, base, 8); err == nil {
		return byte(value), n
	}
	return text[0], 1
}

// restoreLineEnds returns PEM whose line ends became spaces, escaped characters such
// as \n, or nothing, in its usual form (RFC 7468, section 3). If it cannot read a
// block, it returns text unchanged, so that the caller reports the block.
func restoreLineEnds(text []byte) []byte {
	const begin, end, dashes = "-----BEGIN ", "-----END ", "-----"
	if countBlocks(text) == bytes.Count(text, pemBegin) {
		return text
	}
	var out bytes.Buffer
	for rest := text; ; {
		_, after, ok := bytes.Cut(rest, []byte(begin))
		if !ok {
			break
		}
		label, body, ok := bytes.Cut(after[:min(len(after), maxBlock)], []byte(dashes))
		if !ok || len(label) > maxLabel {
			return text
		}
		body, _, ok = bytes.Cut(body, []byte(dashes))
		last := end[len(dashes):] + string(label) + dashes
		used := len(label) + len(dashes) + len(body) + len(dashes)
		if !ok || !bytes.HasPrefix(after[used:], []byte(last)) {
			return text
		}
		der, ok := decodeBase64(unescape(body))
		if !ok {
			return text
		}
		if pem.Encode(&out, &pem.Block{Type: string(label), Bytes: der}) != nil {
			return text
		}
		rest = after[used+len(last):]
	}
	return out.Bytes()
}

// countBlocks returns the number of blocks at the start of text that need no
// repair.
func countBlocks(text []byte) (n int) {
	for {
		b, rest := pem.Decode(text)
		if b == nil || bytes.Count(text[:len(text)-len(rest)], pemBegin) != 1 {
			return n
		}
		n, text = n+1, rest
	}
}
