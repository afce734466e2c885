package sshwire

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// A Fingerprint is the SHA-256 hash of the blob of a public key.
type Fingerprint [sha256.Size]byte

const fingerprintPrefix = "SHA256:"

// FingerprintOf returns the fingerprint of the blob of a public key. OpenSSH prints for
// a certificate the fingerprint of its key, not of its blob.
func FingerprintOf(blob []byte) Fingerprint { return sha256.Sum256(blob) }

// String returns the form that OpenSSH prints: SHA256: and base64 without padding.
func (f Fingerprint) String() string {
	return fingerprintPrefix + base64.RawStdEncoding.EncodeToString(f[:])
}

// ParseFingerprint decodes a fingerprint as OpenSSH prints it, also without SHA256: and
// with padding.
func ParseFingerprint(text string) (Fingerprint, error) {
	encoded := strings.TrimPrefix(text, fingerprintPrefix)
	if len(encoded) == base64.StdEncoding.EncodedLen(sha256.Size) {
		encoded = strings.TrimSuffix(encoded, "=")
	}
	b, err := base64.RawStdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(b) != sha256.Size || strings.ContainsAny(encoded, "\r\n") {
		return Fingerprint{}, errors.New("not a SHA-256 fingerprint, which is SHA256: and 43 characters of base64")
	}
	return Fingerprint(b), nil
}

// FormatPublicKey returns the line of a .pub file, without a newline: the type, the
// blob in base64 and, if it is not empty, the comment, whose control characters become
// question marks. blob must begin with a type; see [KeyType].
func FormatPublicKey(blob []byte, comment string) string {
	name, _ := KeyType(blob)
	line := name + " " + base64.StdEncoding.EncodeToString(blob)
	if comment == "" {
		return line
	}
	return line + " " + strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return '?'
		}
		return c
	}, comment)
}

// ParsePublicKeyText decodes the text of a .pub file, which has one key: a line with
// its type, its blob in base64 and a comment. Empty lines and lines that begin with #
// may surround it. It does not decode the blob beyond its type. A line with options
// before the type, as in authorized_keys, is an error.
func ParsePublicKeyText(text []byte) (blob []byte, comment string, err error) {
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if blob != nil {
			return nil, "", errors.New("more than one line with a public key")
		}
		name, rest := cutField(line)
		encoded, after := cutField(rest)
		if blob, err = base64.StdEncoding.Strict().DecodeString(encoded); err != nil || len(blob) == 0 {
			return nil, "", errNotPublicKey
		}
		inBlob, ok := KeyType(blob)
		if !ok {
			return nil, "", errNotPublicKey
		}
		if inBlob != name {
			return nil, "", fmt.Errorf("line is for a key of type %.64q, but the key has type %s", name, inBlob)
		}
		comment = after
	}
	if blob == nil {
		return nil, "", errNotPublicKey
	}
	return blob, comment, nil
}

// cutField cuts line at the first space or tab.
func cutField(line string) (field, rest string) {
	n := strings.IndexAny(line, " \t")
	if n < 0 {
		return line, ""
	}
	return line[:n], strings.TrimSpace(line[n:])
}

var errNotPublicKey = errors.New("not a public key of OpenSSH, such as: ssh-ed25519 AAAA… comment")
