package keystore

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

// The schemes of references that name bytes rather than a key in a device.
const (
	SchemeFile  = "file" // a path, or file:PATH
	SchemeEnv   = "env"  // env:NAME
	SchemeStdin = "-"    // standard input
)

// maxRef bounds a reference; the longest RFC 7512 URIs have some hundred bytes.
const maxRef = 16 << 10

// A Ref names a key: a scheme, and the rest in that scheme's own grammar, which
// its [Backend] alone knows: what others want to know of a Ref, or to change in
// it, they ask the [Store]. It prints without the value of a pin-value attribute.
type Ref struct{ Scheme, Rest string }

// IsZero reports whether r is the zero Ref, which names nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

// A RefError is a reference that cannot be understood.
type RefError struct {
	Ref string // without secrets
	Err error
}

func (e *RefError) Error() string { return fmt.Sprintf("reference %q: %v", e.Ref, e.Err) }
func (e *RefError) Unwrap() error { return e.Err }

// cutScheme follows RFC 3986, section 3.1, with at least two characters, so
// that the drive letter of a Windows path is none.
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

// ParseRef splits a reference as a person writes it. Without a scheme it is
// the path of a file, as it stands; after "file:" it is a path with
// percent-encoding (RFC 8089). A scheme is returned in lower case and need not
// be one that exists. Errors are a [*RefError].
func ParseRef(s string) (Ref, error) {
	r, err := parseRef(s)
	if err != nil {
		return Ref{}, &RefError{excerpt(s), err}
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

var errEmpty = errors.New("is empty")

// checkText refuses what cannot be the name of anything.
func checkText(s string) error {
	switch {
	case s == "":
		return errEmpty
	case strings.Contains(s, pemBegin):
		return signer.WithHint(errors.New("is PEM text, not the name of a file"),
			"arguments are visible to every local user; pass the text through a file, standard input (-) or a variable (env:NAME)")
	case len(s) > maxRef:
		return fmt.Errorf("is longer than %d bytes", maxRef)
	case strings.ContainsAny(s, "\x00\r\n"):
		return errors.New("contains a control character")
	}
	return nil
}

// excerpt returns what an error shows of a reference that was refused, which
// may be anything: of several lines, such as the inside of a PEM block, little.
func excerpt(s string) string {
	if strings.Contains(s, pemBegin) {
		return pemBegin + " …"
	}
	const one, several = 256, 8 // bytes
	s, limit := redact(strings.TrimRight(s, "\r\n")), one
	if i := strings.IndexAny(s, "\x00\r\n"); i >= 0 {
		s, limit = s[:i]+"…", several
	}
	if scheme, _, _ := cutScheme(s); scheme == SchemeEnv {
		if name, _, ok := strings.Cut(s, "="); ok {
			s = name + "=…" // somebody's idea of passing a value
		}
	}
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// filePath decodes what follows "file:" (RFC 8089, section 2 and appendix E.2).
func filePath(s string) (string, error) {
	if rest, ok := strings.CutPrefix(s, "//"); ok {
		host, path, _ := strings.Cut(rest, "/")
		if host != "" && !strings.EqualFold(host, "localhost") {
			return "", errors.New("names a host, but files are local")
		}
		s = "/" + path
	}
	if strings.ContainsAny(s, "?#") {
		return "", errors.New("file: has no attributes; write ? as %3F and # as %23 in a path")
	}
	path, err := url.PathUnescape(s)
	if err != nil {
		return "", errors.New("has a wrong percent-encoding; write % as %25")
	}
	if path == "" {
		return "", errors.New("needs a path")
	}
	if runtime.GOOS == "windows" && len(path) > 2 && path[0] == '/' && path[2] == ':' {
		path = filepath.FromSlash(path[1:]) // as it would be given without file:
	}
	return path, nil
}

// String returns the reference as [ParseRef] takes it, except that it ends
// after the name of a pin-value attribute.
func (r Ref) String() string {
	switch r.Scheme {
	case SchemeStdin:
		return SchemeStdin
	case SchemeFile:
		if plain, err := parseRef(r.Rest); err != nil || plain != r {
			// The path alone means something else.
			return redact(SchemeFile + ":" + strings.NewReplacer("%", "%25", "?", "%3F", "#", "%23").Replace(r.Rest))
		}
		return redact(r.Rest)
	case "":
		return redact(r.Rest)
	}
	return redact(r.Scheme + ":" + r.Rest)
}

// GoString keeps the PIN out of %#v, too.
func (r Ref) GoString() string { return fmt.Sprintf("%q", r) }

// MarshalText keeps the PIN out of logs and JSON.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// holdsPIN reports whether r has a pin-value attribute, however it is written.
func (r Ref) holdsPIN() bool { return redact(r.Rest) != r.Rest }

// redact cuts s off after the name of a pin-value attribute, however that is
// written, since a PIN may contain what separates attributes.
func redact(s string) string {
	for i := range len(s) {
		if n := spells(s[i:], "pin-value="); n > 0 {
			return s[:i+n] + "…"
		}
	}
	return s
}

// spells returns how many bytes at the start of s spell name, in any case, with
// any percent-encoding, and with blanks before "="; 0 if they do not.
func spells(s, name string) int {
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
