package attestation

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/internal/armor"
	"github.com/holdfast-dev/holdfast/internal/lazyregexp"
	"github.com/holdfast-dev/holdfast/internal/lookup"
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
	ErrMalformed = errors.New("the file cannot be used")

	// ErrVersion is wrapped by the error about a file of a newer version.
	ErrVersion = errors.New("the file has a newer version of the format")

	// ErrClaims is wrapped by the error about a file of [Claims] in the place of
	// evidence.
	ErrClaims = errors.New("the file contains only claims of a token, which nothing proves")
)

// kinds says what a file is, for errors.
var kinds = lookup.Table[string, string]{
	{evidenceType, "evidence of a TPM"},
	{wrappedType, "a wrapped certificate"},
	{claimsType, "claims of a token"},
}

// A header is the beginning of each file.
type header struct {
	Type    string `json:"type"`
	Version int    `json:"version"`
}

// beginning is that of the files that this package writes.
var beginning = lazyregexp.Regexp{Expression: `^\s*{\s*"type"\s*:\s*"([a-z-]+)"`}

// typeOf returns the type of a file, also if it is damaged after its beginning; "" if
// it is none of this package.
func typeOf(data []byte) string {
	var h header
	data = armor.Text(data)
	if m := beginning.Get().FindSubmatch(data); m != nil && kinds.Get(string(m[1])) != "" {
		return string(m[1])
	}
	if len(data) > MaxSize || json.Unmarshal(data, &h) != nil || kinds.Get(h.Type) == "" {
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

// parse parses a file of the wanted type.
func parse(data []byte, wanted string, file any) error {
	if len(data) > MaxSize {
		return fmt.Errorf("%w: it has more than %d KiB", ErrMalformed, MaxSize>>10)
	}
	var h header
	data = armor.Text(data)
	kind := typeOf(data)
	switch err := json.Unmarshal(data, &h); {
	case kind == "":
		return fmt.Errorf("%w: it is not %s", ErrMalformed, kinds.Get(wanted))
	case err != nil:
		return fmt.Errorf("%w: it is cut off, or was changed", ErrMalformed)
	case h.Type == claimsType:
		return signer.WithHint(ErrClaims, "only a key in a TPM can be attested: generate one, as in tpm:path=app.pem")
	case h.Type != wanted:
		return fmt.Errorf("%w: it is %s, not %s", ErrMalformed, kinds.Get(h.Type), kinds.Get(wanted))
	case h.Version > Version:
		return signer.WithHint(fmt.Errorf("%w: %d; this program knows version %d", ErrVersion, h.Version, Version), "update Holdfast on this machine")
	case h.Version != Version:
		return fmt.Errorf("%w: it has the version %d", ErrMalformed, h.Version)
	}
	if err := checkNames(data); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	d := json.NewDecoder(bytes.NewReader(data)) // json.Unmarshal has found nothing after the object
	d.DisallowUnknownFields()
	err := d.Decode(file)
	var invalid *json.UnmarshalTypeError
	switch {
	case errors.As(err, &invalid):
		return fmt.Errorf("%w: the field %.40q has a value of another type", ErrMalformed, strings.TrimPrefix(invalid.Field, "Parts."))
	case err != nil:
		return fmt.Errorf("%w: %.100s", ErrMalformed, err) // it can contain the name of a field, of any length
	}
	return nil
}

// fieldName is the form of all names in the files.
var fieldName = lazyregexp.Regexp{Expression: `^[a-z0-9_]*$`}

// checkNames refuses names that encoding/json takes for another one, because it ignores
// case, and names that occur twice in an object: other programs read such a file
// differently.
func checkNames(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	var objects []map[string]bool // the names in each object or array around the token; nil: an array
	isName := false
	for {
		token, err := d.Token()
		if err != nil {
			return nil // io.EOF: json.Unmarshal has accepted data
		}
		name, isText := token.(string)
		switch {
		case token == json.Delim('{'):
			objects = append(objects, make(map[string]bool))
		case token == json.Delim('['):
			objects = append(objects, nil)
		case token == json.Delim('}'), token == json.Delim(']'):
			objects = objects[:len(objects)-1]
		case isText && isName:
			names := objects[len(objects)-1]
			if names[name] || !fieldName.Get().MatchString(name) {
				return fmt.Errorf("the field %.40q is repeated, or has no valid name", name)
			}
			names[name], isName = true, false
			continue
		}
		isName = len(objects) > 0 && objects[len(objects)-1] != nil
	}
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
