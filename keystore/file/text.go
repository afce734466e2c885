package file

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

// foreignFormats are formats that other programs convert, with the bytes at
// their start.
var foreignFormats = []struct{ magic, name, hint string }{
	{"\xfe\xed\xfe\xed", "a Java key store (JKS)", hintKeytool},
	{"\xce\xce\xce\xce", "a Java key store (JCEKS)", hintKeytool},
	{"\x1e\xf1\xb5\xb0", "a private key in PVK format", "convert it with: openssl rsa -inform PVK -in FILE -out key.pem"},
	{"\x07\x02\x00\x00", "a private key in MSBLOB format", "convert it with: openssl rsa -inform MSBLOB -in FILE -out key.pem"},
	{"PuTTY-User-Key-File-", "a PuTTY private key", "export it from PuTTYgen as an OpenSSH key, and convert a copy with: ssh-keygen -p -m PKCS8 -f COPY"},
	{"ssh-", "an SSH public key", hintPEM},
	{"ecdsa-sha2-", "an SSH public key", hintPEM},
	{`{"kty"`, "a JSON Web Key", hintPEM},
}

const hintKeytool = "convert it with: keytool -importkeystore -srckeystore FILE -destkeystore new.p12 -deststoretype PKCS12"

// unwrap returns data without a byte order mark. It decodes base64 of PEM or
// DER, which secret stores write, and restores the line ends of PEM that passed
// through an environment variable or a form. It only does so if the result is
// unambiguous.
func unwrap(data []byte) ([]byte, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // editors on Windows write it
	trimmed := bytes.TrimSpace(data)
	switch {
	case len(trimmed) == 0:
		return nil, errors.New("is empty")
	case isUTF16(data):
		return nil, signer.WithHint(errors.New("is UTF-16 text"), "PEM is plain text: save it in UTF-8, or convert it with: iconv -f UTF-16 -t UTF-8 FILE > new.pem")
	case bytes.Contains(data, pemBegin):
		return restoreLineEnds(data), nil
	case data[0] == 0x30:
		return data, nil
	}
	for _, f := range foreignFormats {
		if bytes.HasPrefix(trimmed, []byte(f.magic)) {
			return nil, signer.WithHint(fmt.Errorf("is %s: %w", f.name, errors.ErrUnsupported), f.hint)
		}
	}
	if decoded, ok := decodeBase64(trimmed); ok {
		if bytes.Contains(decoded, pemBegin) {
			return restoreLineEnds(decoded), nil
		}
		if _, rest, err := toDER(decoded); err == nil && decoded[0] == 0x30 && len(trimLineEnd(rest)) == 0 {
			return decoded, nil
		}
	}
	return nil, signer.WithHint(errors.New("is neither PEM nor DER"), hintPEM)
}

// isUTF16 reports whether data begins with a byte order mark of UTF-16, or
// consists of ASCII characters in UTF-16.
func isUTF16(data []byte) bool {
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		return true
	}
	wide := []byte("-\x00-\x00-\x00-\x00-\x00B\x00E\x00G\x00I\x00N")
	return bytes.Contains(data, wide)
}

// decodeBase64 decodes standard base64 with white space and with or without
// padding.
func decodeBase64(text []byte) ([]byte, bool) {
	joined := bytes.TrimRight(bytes.Join(bytes.Fields(text), nil), "=")
	decoded, err := base64.RawStdEncoding.AppendDecode(nil, joined)
	return decoded, err == nil && len(decoded) > 1
}

const (
	maxLabel = 64      // bytes
	maxBlock = 1 << 20 // bytes
)

var escapedLineEnds = strings.NewReplacer(`\r`, "", `\n`, "")

// restoreLineEnds returns PEM whose line ends became spaces, the two characters
// \n, or nothing, in its usual form (RFC 7468, section 3). If it cannot read a
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
		der, ok := decodeBase64([]byte(escapedLineEnds.Replace(string(body))))
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

// trimLineEnd removes white space that an editor added to a DER file.
func trimLineEnd(rest []byte) []byte { return bytes.Trim(rest, "\r\n\x00") }
