package file

import (
	"bytes"
	"errors"
	"runtime"
	"strings"

	"golang.org/x/crypto/cryptobyte"

	"github.com/holdfast-dev/holdfast/internal/armor"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// foreignFormats are formats that other programs convert, with the bytes at
// their start.
var foreignFormats = []struct{ magic, name, hint string }{
	{"\xfe\xed\xfe\xed", "a Java key store (JKS)", hintKeytool},
	{"\xce\xce\xce\xce", "a Java key store (JCEKS)", hintKeytool},
	{"\x1e\xf1\xb5\xb0", "a private key in PVK format", "convert it with: openssl rsa -inform PVK -in FILE -out FILE.converted.pem -provider legacy -provider default"},
	{"\x07\x02\x00\x00", "a private key in MSBLOB format", "convert it with: openssl rsa -inform MSBLOB -in FILE -out FILE.converted.pem"},
	{"PuTTY-User-Key-File-", "a PuTTY private key", "export it from PuTTYgen as an OpenSSH key, and convert a copy with: ssh-keygen -p -m PKCS8 -f COPY"},
	{"ssh-", "an SSH public key", hintPEM},
	{"ecdsa-sha2-", "an SSH public key", hintPEM},
	{`{"kty"`, "a JSON Web Key", hintPEM},
}

const hintKeytool = "convert it with: keytool -importkeystore -srckeystore FILE -destkeystore FILE.converted.p12 -deststoretype PKCS12"

// unwrap returns PEM or DER without the encodings around it; see [armor.Decode].
func unwrap(data []byte) (inner []byte, isBase64 bool, err error) {
	data, isBase64 = armor.Decode(data)
	trimmed := bytes.TrimSpace(data)
	switch {
	case len(trimmed) == 0:
		return nil, false, signer.WithHint(errors.New("is empty"), "it must contain a key or certificate in PEM, DER or PKCS #12")
	case bytes.Contains(data, pemBegin), data[0] == 0x30:
		return data, isBase64, nil
	}
	for _, f := range foreignFormats {
		if bytes.HasPrefix(trimmed, []byte(f.magic)) {
			return nil, isBase64, signer.WithHint(unsupported("is %s, which is not supported", f.name), f.hint)
		}
	}
	switch {
	case bytes.Contains(trimmed, []byte(`"holdfast-wrapped-certificate"`)):
		return nil, isBase64, signer.WithHint(errors.New("is a wrapped certificate"), "unwrap it and store it beside its key with: holdfast install")
	case bytes.Contains(trimmed, []byte(`"holdfast-tpm-evidence"`)):
		return nil, isBase64, signer.WithHint(errors.New("is evidence about a key in a TPM, not a certificate"), "give it to the CA; a CA of Holdfast reads it with: holdfast ca issue")
	}
	return nil, false, signer.WithHint(errors.New("is neither PEM nor DER"), hintPEM)
}

// fileWord stands for the name of the file in the commands of hints.
const fileWord = "FILE"

// withName returns err with a hint whose commands have the name of the file, if it
// is known. They first decode the file, if it is base64.
func withName(err error, ref keystore.Ref, isBase64 bool) error {
	hint := signer.Hint(err)
	named := hint
	if isBase64 && strings.Contains(hint, fileWord) {
		named = "decode it with: (umask 077; base64 -d FILE > FILE.decoded); " + strings.ReplaceAll(hint, fileWord, "FILE.decoded")
	}
	if ref.Scheme == keystore.SchemeFile {
		named = strings.ReplaceAll(named, fileWord, quote(ref.Rest))
	}
	if named == hint {
		return err
	}
	return signer.WithHint(err, named)
}

// quote returns a path as a word of a command in a shell.
func quote(path string) string {
	if strings.HasPrefix(path, "-") {
		path = "./" + path
	}
	switch {
	case !strings.ContainsFunc(path, func(c rune) bool {
		return !strings.ContainsRune("_-./:@%+=,", c) && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
	}):
		return path
	case runtime.GOOS == "windows":
		return `"` + path + `"`
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// openSSHType returns the type of the key in an "openssh-key-v1" file (OpenSSH,
// PROTOCOL.key), or "". It is not encrypted.
func openSSHType(data []byte) string {
	data, ok := bytes.CutPrefix(data, []byte("openssh-key-v1\x00"))
	in := cryptobyte.String(data)
	var count uint32
	next := func() (s cryptobyte.String) {
		var n uint32
		ok = ok && in.ReadUint32(&n) && n <= uint32(len(in)) && in.ReadBytes((*[]byte)(&s), int(n))
		return s
	}
	next() // cipher
	next() // key derivation
	next() // its parameters
	ok = ok && in.ReadUint32(&count)
	in = next() // the first public key
	kind := next()
	if !ok {
		return ""
	}
	return string(kind)
}

// isConvertible reports whether ssh-keygen may convert an OpenSSH key to PKCS #8.
func isConvertible(data []byte) bool {
	kind := openSSHType(data)
	return kind == "" || kind == "ssh-rsa" || strings.HasPrefix(kind, "ecdsa-sha2-nistp")
}

// trimLineEnd removes white space that an editor added to a DER file.
func trimLineEnd(rest []byte) []byte { return bytes.Trim(rest, "\r\n\x00") }
