package keystore

import (
	"errors"
	"fmt"
	"net/url"
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

// maxRef bounds a reference; the longest RFC 7512 URIs have some hundred bytes.
const maxRef = 16 << 10

// A Ref names a key: a scheme, and the rest in that scheme's own grammar. It
// prints without the value of a pin-value attribute.
type Ref struct{ Scheme, Rest string }

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
// be one that exists.
func ParseRef(s string) (Ref, error) {
	switch {
	case s == "":
		return Ref{}, &RefError{s, errors.New("is empty")}
	case strings.Contains(s, "-----BEGIN"):
		return Ref{}, &RefError{"-----BEGIN …", signer.WithHint(
			errors.New("is PEM text, not the name of a file"),
			"arguments are visible to every local user; pass the text through a file, standard input (-) or a variable (env:NAME)")}
	case len(s) > maxRef:
		return Ref{}, &RefError{redact(s[:64]) + "…", fmt.Errorf("is longer than %d bytes", maxRef)}
	case strings.ContainsAny(s, "\x00\r\n"):
		return Ref{}, &RefError{strings.Map(dropControl, Ref{Rest: s}.String()), errors.New("contains a control character")}
	case s == SchemeStdin:
		return Ref{Scheme: SchemeStdin}, nil
	}
	scheme, rest, ok := cutScheme(s)
	if !ok {
		return Ref{SchemeFile, s}, nil
	}
	r := Ref{scheme, rest}
	var err error
	switch r.Scheme {
	case SchemeFile:
		r.Rest, err = filePath(r.Rest)
	case SchemeEnv:
		if r.Rest == "" || strings.Contains(r.Rest, "=") {
			err = errors.New("needs the name of a variable, as in env:NAME")
		}
	}
	if err != nil {
		return Ref{}, &RefError{redact(s), err}
	}
	return r, nil
}

func dropControl(r rune) rune {
	if r < ' ' {
		return -1
	}
	return r
}

// filePath decodes what follows "file:" (RFC 8089, section 2 and appendix E.2).
func filePath(s string) (string, error) {
	if rest, ok := strings.CutPrefix(s, "//"); ok {
		host, path, _ := strings.Cut(rest, "/")
		if host != "" && host != "localhost" {
			return "", fmt.Errorf("names the host %q, but files are local", host)
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
	if path == "" || strings.Contains(path, "\x00") {
		return "", errors.New("needs a path")
	}
	if runtime.GOOS == "windows" && len(path) > 2 && path[0] == '/' && path[2] == ':' {
		path = path[1:]
	}
	return path, nil
}

// String returns the reference as [ParseRef] takes it, except that the value
// of a pin-value attribute is replaced.
func (r Ref) String() string {
	switch r.Scheme {
	case SchemeStdin:
		return SchemeStdin
	case SchemeFile:
		return r.Rest
	case "":
		return redact(r.Rest)
	}
	return r.Scheme + ":" + redact(r.Rest)
}

func redact(rest string) string {
	var b strings.Builder
	for {
		i := strings.IndexAny(rest, "?;&")
		attribute := rest
		if i >= 0 {
			attribute = rest[:i]
		}
		name, _, _ := strings.Cut(attribute, "=")
		plain, err := url.PathUnescape(name)
		if err == nil && strings.EqualFold(strings.TrimSpace(plain), "pin-value") {
			attribute = name + "=…"
		}
		b.WriteString(attribute)
		if i < 0 {
			return b.String()
		}
		b.WriteByte(rest[i])
		rest = rest[i+1:]
	}
}
