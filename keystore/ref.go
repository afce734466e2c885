package keystore

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

// The schemes of references that name bytes rather than a key in a device.
const (
	SchemeFile  = "file" // a path, or file:PATH
	SchemeEnv   = "env"  // env:NAME
	SchemeStdin = "-"    // standard input
)

// maxRef is the maximum length of a reference, in bytes. Long RFC 7512 URIs
// have a few hundred bytes.
const maxRef = 16 << 10

// A Ref names a key. Rest has the grammar of the scheme, which only the
// [Backend] parses. To get information from a Ref or to change it, ask the
// [Store]. A Ref prints without the value of a pin-value attribute.
type Ref struct{ Scheme, Rest string }

// IsZero reports whether r is the zero Ref, which names nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

// A RefError is the error for an invalid reference.
type RefError struct {
	Ref string // without secrets
	Err error
}

func (e *RefError) Error() string { return fmt.Sprintf("reference %q: %v", e.Ref, e.Err) }
func (e *RefError) Unwrap() error { return e.Err }

// cutScheme splits off the scheme (RFC 3986, section 3.1). A scheme has at
// least two characters here, because one letter is the drive of a Windows path.
func cutScheme(s string) (scheme, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(s, ":")
	if !ok || len(scheme) < 2 || !isLetter(scheme[0]) {
		return "", "", false
	}
	for i := 1; i < len(scheme); i++ {
		if c := scheme[i]; !isLetter(c) && (c < '0' || c > '9') && strings.IndexByte("+.-", c) < 0 {
			return "", "", false
		}
	}
	return strings.ToLower(scheme), rest, true
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// ParseRef parses a reference in the form that users write. Without a scheme it
// is the literal path of a file. After "file:" the path is percent-encoded (RFC
// 8089). ParseRef returns the scheme in lower case, and does not check that a
// backend supports it. An error is a [*RefError].
func ParseRef(s string) (Ref, error) {
	r, err := parseRef(s)
	if err != nil {
		return Ref{}, &RefError{Excerpt(s), err}
	}
	return r, nil
}

func parseRef(s string) (r Ref, err error) {
	if err := checkText(s); err != nil {
		return r, err
	}
	if s == SchemeStdin {
		return Ref{Scheme: SchemeStdin}, nil
	}
	scheme, rest, ok := cutScheme(s)
	if !ok {
		return Ref{SchemeFile, s}, nil
	}
	r = Ref{scheme, rest}
	switch r.Scheme {
	case SchemeFile:
		if r.Rest, err = filePath(r.Rest); err == nil {
			err = checkText(r.Rest)
		}
	case SchemeEnv:
		if r.Rest == "" || strings.Contains(r.Rest, "=") {
			err = errors.New("needs the name of a variable, as in env:NAME")
		}
	}
	return r, err
}

const pemBegin = "-----BEGIN"

// hintForText is for a key that was given instead of its name.
const hintForText = "every local user can read the command line; pass the text in a file, through standard input (-) or in a variable (env:NAME)"

var errEmpty = errors.New("is empty")

// checkText refuses text that cannot be a reference or a path.
func checkText(s string) error {
	switch {
	case s == "":
		return errEmpty
	case strings.Contains(s, pemBegin):
		return signer.WithHint(errors.New("is PEM text, not the name of a file"),
			hintForText)
	case containsKey(s):
		return signer.WithHint(errors.New("is a key or certificate in base64, not its name"), hintForText)
	case len(s) > maxRef:
		return fmt.Errorf("is longer than %d bytes", maxRef)
	case strings.ContainsAny(s, "\x00\r\n"):
		return errors.New("contains a control character")
	}
	return nil
}

// filePath decodes the part after "file:" (RFC 8089, section 2 and appendix
// E.2).
func filePath(s string) (string, error) {
	if rest, ok := strings.CutPrefix(s, "//"); ok {
		host, path, _ := strings.Cut(rest, "/")
		if host != "" && !strings.EqualFold(host, "localhost") {
			return "", errors.New("names a host, but only local files are supported")
		}
		s = "/" + path
	}
	if strings.ContainsAny(s, "?#") {
		return "", errors.New("contains ? or #, but file: has no attributes; write ? as %3F and # as %23")
	}
	path, err := url.PathUnescape(s)
	if err != nil {
		return "", errors.New("has an invalid percent-encoding; write % as %25")
	}
	if path == "" {
		return "", errors.New("needs a path")
	}
	if runtime.GOOS == "windows" && len(path) > 2 && path[0] == '/' && path[2] == ':' {
		path = filepath.FromSlash(path[1:]) // the same path as without file:
	}
	return path, nil
}

// String returns the reference in the form that [ParseRef] parses. It cuts the
// reference off after the name of a pin-value attribute or of an attribute that does
// not exist, and replaces a name that can be a key as text.
func (r Ref) String() string {
	switch r.Scheme {
	case SchemeStdin:
		return SchemeStdin
	case SchemeFile:
		if looksLikeKey(r.Rest) {
			return "…"
		}
		plain, err := parseRef(r.Rest)
		if err == nil && plain == r && percentEncode(r.Rest, "") == r.Rest {
			return redact(r.Rest)
		}
		// Without "file:" the path would have another meaning or could not be
		// printed.
		prefix := SchemeFile + ":"
		if strings.HasPrefix(r.Rest, "//") {
			prefix += "//" // otherwise it would name a host
		}
		return redact(prefix + percentEncode(r.Rest, "%?#"))
	case "":
		return redact(r.Rest)
	}
	return withoutKey(redact(r.Scheme + ":" + r.Rest))
}

// GoString keeps a PIN out of %#v.
func (r Ref) GoString() string { return fmt.Sprintf("%q", r) }

// MarshalText keeps a PIN out of logs and JSON.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// hasPINValue reports whether r has a pin-value attribute, or another one that
// could contain a PIN.
func (r Ref) hasPINValue() bool { s := r.Scheme + ":" + r.Rest; return redact(s) != s }
