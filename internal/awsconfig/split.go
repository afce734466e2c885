package awsconfig

import (
	"errors"
	"strings"
)

// Errors of the functions that split a command line.
var (
	ErrQuote  = errors.New("a quotation mark is not closed")
	ErrEscape = errors.New("nothing follows the last backslash")
)

// pythonSpace is the white space of shlex.
const pythonSpace = " \t\r\n"

// SplitPython splits a command line into words like shlex.split of Python, which
// botocore uses on systems other than Windows. It starts the program without a
// shell: it replaces no ~ and no variables.
func SplitPython(s string) (words []string, err error) {
	w := &wordBuilder{}
	rest := s
	for rest != "" {
		c := rest[0]
		rest = rest[1:]
		switch {
		case strings.IndexByte(pythonSpace, c) >= 0:
			w.end(&words)
		case c == '\\':
			if rest == "" {
				return nil, ErrEscape
			}
			w.add(rest[:1])
			rest = rest[1:]
		case c == '\'':
			quoted, after, ok := strings.Cut(rest, "'")
			if !ok {
				return nil, ErrQuote
			}
			w.add(quoted)
			rest = after
		case c == '"':
			if rest, err = w.double(rest, `"\`, nil); err != nil {
				return nil, err
			}
		default:
			w.add(string([]byte{c}))
		}
	}
	w.end(&words)
	return words, nil
}

// A wordBuilder collects the parts of a word, which may be empty but quoted.
type wordBuilder struct {
	text  strings.Builder
	begun bool
}

func (w *wordBuilder) add(s string) {
	w.begun = true
	w.text.WriteString(s)
}

func (w *wordBuilder) end(words *[]string) {
	if w.begun {
		*words = append(*words, w.text.String())
	}
	*w = wordBuilder{}
}

// double adds the text up to the closing quotation mark, where a backslash
// escapes only the given characters. It calls special for each $ and ` that is
// not escaped. It returns the text after the mark.
func (w *wordBuilder) double(s, escaped string, special func(rest string)) (rest string, err error) {
	w.begun = true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[i+1:], nil
		case c == '\\' && i+1 < len(s) && strings.IndexByte(escaped, s[i+1]) >= 0:
			i++
			if s[i] != '\n' || strings.IndexByte(escaped, '\n') < 0 {
				w.text.WriteByte(s[i])
			}
		default:
			if special != nil && (c == '$' || c == '`') {
				special(s[i:])
			}
			w.text.WriteByte(c)
		}
	}
	return "", ErrQuote
}

// A Shell is a command line as a POSIX shell reads it.
type Shell struct {
	Words []string // of all commands, without replacing anything

	// Specials are the parts that the shell interprets: it replaces them,
	// begins another command, redirects a file, or ignores a comment.
	Specials []string
}

// SplitShell splits a command line into words like sh -c, which the AWS SDKs for
// Go, Java and JavaScript use (POSIX.1-2024, volume 3, section 2.2 and 2.3).
func SplitShell(s string) (Shell, error) {
	var sh Shell
	var w wordBuilder
	special := func(rest string) { sh.Specials = append(sh.Specials, part(rest)) }
	for rest := s; rest != ""; {
		before := rest
		c := rest[0]
		rest = rest[1:]
		switch {
		case c == ' ' || c == '\t':
			w.end(&sh.Words)
		case c == '\\' && rest == "":
			w.add(`\`)
		case c == '\\':
			if rest[0] != '\n' { // the shell removes a line end after a backslash
				w.add(rest[:1])
			}
			rest = rest[1:]
		case c == '\'':
			quoted, after, ok := strings.Cut(rest, "'")
			if !ok {
				return sh, ErrQuote
			}
			w.add(quoted)
			rest = after
		case c == '"':
			var err error
			if rest, err = w.double(rest, "$`\"\\\n", special); err != nil {
				return sh, err
			}
		case strings.IndexByte("\n|&;<>()", c) >= 0:
			w.end(&sh.Words)
			special(before)
		case c == '#' && !w.begun:
			special(before)
			if _, rest, _ = strings.Cut(rest, "\n"); rest != "" {
				special("\n")
			}
		default:
			if strings.IndexByte("$`*?[", c) >= 0 || c == '~' && !w.begun {
				special(before)
			}
			w.add(string([]byte{c}))
		}
	}
	w.end(&sh.Words)
	return sh, nil
}

// maxPart limits the length of a special part in bytes.
const maxPart = 60

// part returns the beginning of a special part: up to the next white space or
// quotation mark.
func part(s string) string {
	if s[0] == '\n' {
		return "a line end"
	}
	s = strings.ToValidUTF8(s[:min(len(s), maxPart)], "")
	if at := strings.IndexAny(s[1:], " \t\r\n\"'"); at >= 0 {
		s = s[:1+at]
	}
	return s
}

// SplitWindows splits a command line into words like the C library of Windows,
// which botocore uses there. Only quotation marks and backslashes before them are
// special.
func SplitWindows(s string) (words []string, err error) {
	var w wordBuilder
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			n := 1
			for i+n < len(s) && s[i+n] == '\\' {
				n++
			}
			i += n - 1
			if i+1 == len(s) || s[i+1] != '"' {
				w.add(strings.Repeat(`\`, n))
				continue
			}
			w.text.WriteString(strings.Repeat(`\`, n/2))
			if n%2 == 1 {
				w.add(`"`)
				i++
			}
		case c == '"':
			quoted = !quoted
			w.begun = true
		case (c == ' ' || c == '\t') && !quoted:
			w.end(&words)
		default:
			w.add(s[i : i+1])
		}
	}
	if quoted {
		return nil, ErrQuote
	}
	w.end(&words)
	return words, nil
}
