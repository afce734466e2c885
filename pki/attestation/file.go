package attestation

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/internal/armor"
	"github.com/holdfast-dev/holdfast/signer"
)

// Version is the version of the formats of this package.
const Version = 1

// MaxSize is the size of the largest file, in bytes.
const MaxSize = 64 << 10

// The types of files.
const (
	evidenceType = "holdfast-tpm-evidence"
	wrappedType  = "holdfast-wrapped-certificate"
	claimsType   = "holdfast-token-claims"
)

// The errors about files.
var (
	// ErrMalformed is wrapped by the errors about a file that is damaged or of
	// another kind.
	ErrMalformed = errors.New("the file is damaged")

	// ErrVersion is wrapped by the error about a file of a newer version.
	ErrVersion = errors.New("the file has a newer version of the format")

	// ErrClaims is wrapped by the error about a file of [Claims] in the place of
	// evidence.
	ErrClaims = errors.New("the file contains only claims of a token, which nothing proves")
)

// kinds says what a file is, for errors.
var kinds = map[string]string{
	evidenceType: "evidence of a TPM",
	wrappedType:  "a wrapped certificate",
	claimsType:   "claims of a token",
}

// A header is the beginning of each file.
type header struct {
	Type    string `json:"type"`
	Version int    `json:"version"`
}

// beginning is that of the files that this package writes.
var beginning = regexp.MustCompile(`^\s*{\s*"type"\s*:\s*"([a-z-]+)"`)

// typeOf returns the type of a file, also if it is damaged after its beginning; "" if
// it is none of this package.
func typeOf(data []byte) string {
	var h header
	data = armor.Text(data)
	if m := beginning.FindSubmatch(data); m != nil && kinds[string(m[1])] != "" {
		return string(m[1])
	}
	if len(data) > MaxSize || json.Unmarshal(data, &h) != nil || kinds[h.Type] == "" {
		return ""
	}
	return h.Type
}

// IsFile reports whether data is a file of this package, of any type and version, also
// if it is damaged after its beginning.
func IsFile(data []byte) bool { return typeOf(data) != "" }

// EvidenceKey returns the SubjectPublicKeyInfo of the key in a file of evidence or
// claims. ok is false for any other file.
func EvidenceKey(data []byte) (spki []byte, ok bool) {
	var claims claimsFile
	if typeOf(data) == claimsType {
		err := json.Unmarshal(data, &claims)
		return claims.Key, err == nil
	}
	e, err := Parse(data)
	if err != nil {
		return nil, false
	}
	spki, err = x509.MarshalPKIXPublicKey(e.key)
	return spki, err == nil
}

// WrappedKey returns the SubjectPublicKeyInfo of the key in a file with a wrapped
// certificate. ok is false for any other file.
func WrappedKey(data []byte) (spki []byte, ok bool) {
	w, err := ParseWrapped(data)
	if err != nil {
		return nil, false
	}
	return w.file.PublicKey, true
}

// parse parses a file of the wanted type. It accepts only what json.Marshal writes,
// apart from white space, so that no other text has the same meaning.
func parse(data []byte, wanted string, file any) error {
	if len(data) > MaxSize {
		return fmt.Errorf("%w: it has more than %d KiB", ErrMalformed, MaxSize>>10)
	}
	var h header
	data = armor.Text(data)
	kind := typeOf(data)
	switch err := json.Unmarshal(data, &h); {
	case kind == "":
		return fmt.Errorf("%w: it is not %s", ErrMalformed, kinds[wanted])
	case err != nil:
		return fmt.Errorf("%w: it is cut off, or was changed", ErrMalformed)
	case h.Type == claimsType:
		return signer.WithHint(ErrClaims, "only a key in a TPM can be attested: generate one, as in tpm:path=app.pem")
	case h.Type != wanted:
		return fmt.Errorf("%w: it is %s, not %s", ErrMalformed, kinds[h.Type], kinds[wanted])
	case h.Version > Version:
		return signer.WithHint(fmt.Errorf("%w: %d; this program knows version %d", ErrVersion, h.Version, Version), "update Holdfast on this machine")
	case h.Version != Version:
		return fmt.Errorf("%w: it has the version %d", ErrMalformed, h.Version)
	}
	err := json.Unmarshal(data, file)
	var invalid *json.UnmarshalTypeError
	switch {
	case errors.As(err, &invalid):
		return fmt.Errorf("%w: the field %.40q has a value of another type", ErrMalformed, strings.TrimPrefix(invalid.Field, "Parts."))
	case err != nil:
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var compact bytes.Buffer
	same, err := json.Marshal(file)
	if err == nil {
		err = json.Compact(&compact, data)
	}
	if err != nil || !bytes.Equal(same, compact.Bytes()) {
		return fmt.Errorf("%w: it has unknown or repeated names, or another order than this program writes", ErrMalformed)
	}
	return nil
}

// marshal returns a file. The error of one that is too large to be parsed wraps
// [ErrMalformed].
func marshal(file any) ([]byte, error) {
	data, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return nil, err
	}
	if data = append(data, '\n'); len(data) > MaxSize {
		return nil, fmt.Errorf("%w: it has more than %d KiB", ErrMalformed, MaxSize>>10)
	}
	return data, nil
}

// unmarshal parses a TPM structure. There must be no data after it.
func unmarshal[T tpm2.Marshallable, P interface {
	*T
	tpm2.Unmarshallable
}](data []byte) (*T, error) {
	v, err := tpm2.Unmarshal[T, P](data)
	if err != nil || !bytes.Equal(tpm2.Marshal(*v), data) {
		return nil, errors.New("is not a valid TPM structure")
	}
	return v, nil
}
