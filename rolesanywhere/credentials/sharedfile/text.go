package sharedfile

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// maxLines limits the memory for a file with short lines.
const maxLines = 100_000

const byteOrderMark = "\ufeff"

// A text is the content of a file, split into lines. It contains every byte.
type text struct {
	mark  string // byteOrderMark or ""
	lines []line
}

type line struct {
	body string
	end  string // "\n", "\r\n", or "" at the end of the file
}

// parse splits data into lines. It refuses control characters, which clients
// interpret differently.
func parse(data []byte) (text, error) {
	var t text
	s := string(data)
	if rest, ok := strings.CutPrefix(s, byteOrderMark); ok {
		t.mark, s = byteOrderMark, rest
	}
	for body := range strings.Lines(s) {
		var l line
		for _, end := range []string{"\r\n", "\n"} {
			if rest, ok := strings.CutSuffix(body, end); ok {
				body, l.end = rest, end
				break
			}
		}
		l.body = body
		if len(t.lines) == maxLines {
			return text{}, fmt.Errorf("%w: it has more than %d lines", ErrFormat, maxLines)
		}
		t.lines = append(t.lines, l)
		if i := strings.IndexFunc(body, isBinary); i >= 0 {
			return text{}, fmt.Errorf("%w: line %d contains the control character %q", ErrFormat, len(t.lines), body[i])
		}
	}
	return t, nil
}

func isBinary(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

func (t text) bytes() []byte {
	var b bytes.Buffer
	b.WriteString(t.mark)
	for _, l := range t.lines {
		b.WriteString(l.body)
		b.WriteString(l.end)
	}
	return b.Bytes()
}

// end returns the line end of the first line of t.
func (t text) end() string {
	if len(t.lines) > 0 && t.lines[0].end != "" {
		return t.lines[0].end
	}
	return "\n"
}

// A setting is a key with its new value.
type setting struct {
	key, value string
	always     bool // add the key if it is missing
}

// newSettings returns the settings for c in a profile.
func newSettings(c credentials.Credentials) ([]setting, error) {
	all := []setting{
		{"aws_access_key_id", c.AccessKeyID, true},
		{"aws_secret_access_key", c.SecretAccessKey, true},
		{"aws_session_token", c.SessionToken, true},
		// The older name, which botocore prefers.
		{"aws_security_token", c.SessionToken, false},
	}
	if c.AccountID != "" {
		all = append(all, setting{"aws_account_id", c.AccountID, false})
	}
	for _, s := range all {
		if s.value == "" || strings.ContainsFunc(s.value, func(r rune) bool {
			return r <= ' ' || r > '~' || strings.ContainsRune(`"'#;[]`, r)
		}) {
			return nil, fmt.Errorf("%w: the value for %s is empty or contains invalid characters", credentials.ErrIncomplete, s.key)
		}
	}
	return all, nil
}

// set returns t with settings in profile. It sets each occurrence of a key, and
// adds missing keys to the profile's last section, which it creates if there is
// none.
func (t text) set(profile string, settings []setting) text {
	out := text{t.mark, slices.Clone(t.lines)}
	meanings := goMeanings(t)
	found := make(map[string]bool)
	after := -1 // the line after which missing keys are added
	for i, p := range meanings {
		if p.section != profile {
			continue
		}
		if p.kind == header {
			after = i
		}
		for _, s := range settings {
			if p.kind == property && p.key == s.key {
				out.lines[i].body = withValue(t.lines[i].body, s.value)
				found[s.key], after = true, i
			}
		}
	}
	var missing []line
	indent := t.indent(meanings, after)
	for _, s := range settings {
		if s.always && !found[s.key] {
			missing = append(missing, line{indent + s.key + " = " + s.value, t.end()})
		}
	}
	if len(missing) == 0 {
		return out
	}
	if after < 0 {
		after = len(t.lines) - 1
		section := []line{{"[" + profile + "]", t.end()}}
		if after >= 0 && strings.TrimSpace(t.lines[after].body) != "" {
			section = []line{{"", t.end()}, section[0]}
		}
		missing = append(section, missing...)
	}
	if after >= 0 && out.lines[after].end == "" {
		out.lines[after].end = t.end()
	}
	out.lines = slices.Insert(out.lines, after+1, missing...)
	return out
}

// indent returns the white space for a key inserted after line i: the
// indentation of line i or, if it is a header, of the first key below it. A
// line that is indented deeper than the previous one would continue it.
func (t text) indent(meanings []meaning, i int) string {
	if i < 0 {
		return ""
	}
	if meanings[i].kind == header {
		below := slices.IndexFunc(meanings[i+1:], func(p meaning) bool { return p.kind != ignored })
		if below < 0 || meanings[i+1+below].kind == header {
			return ""
		}
		i += 1 + below
	}
	body := t.lines[i].body
	return body[:len(body)-len(strings.TrimLeft(body, " \t"))]
}

// withValue returns the line of a property with a new value. It replaces
// everything that any client reads as part of the value, including a comment
// after it.
func withValue(body, value string) string {
	i := strings.IndexAny(body, "=:") + 1
	name, rest := body[:i], body[i:]
	lead := rest[:len(rest)-len(strings.TrimLeft(rest, " \t"))]
	tail := rest[len(strings.TrimRight(rest, " \t")):]
	if len(lead) == len(rest) {
		tail = ""
		if lead == "" && strings.HasSuffix(name, " =") {
			lead = " "
		}
	}
	return name + lead + value + tail
}
