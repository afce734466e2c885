package file

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/armor"
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

// unwrap returns PEM or DER without the encodings around it; see [armor.Decode].
func unwrap(data []byte) ([]byte, error) {
	data, decoded := armor.Decode(data)
	trimmed := bytes.TrimSpace(data)
	switch {
	case len(trimmed) == 0:
		return nil, errors.New("is empty")
	case bytes.Contains(data, pemBegin), data[0] == 0x30:
		return data, nil
	}
	for _, f := range foreignFormats {
		if !bytes.HasPrefix(trimmed, []byte(f.magic)) {
			continue
		}
		name, hint := f.name, f.hint
		if decoded {
			name = "base64 of " + name
			hint = "decode it with: base64 -d FILE > FILE.decoded; " + strings.Replace(hint, " FILE ", " FILE.decoded ", 1)
		}
		return nil, signer.WithHint(fmt.Errorf("is %s: %w", name, errors.ErrUnsupported), hint)
	}
	return nil, signer.WithHint(errors.New("is neither PEM nor DER"), hintPEM)
}

// trimLineEnd removes white space that an editor added to a DER file.
func trimLineEnd(rest []byte) []byte { return bytes.Trim(rest, "\r\n\x00") }
