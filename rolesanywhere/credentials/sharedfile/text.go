package sharedfile

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// maxLines bounds the memory that a file of short lines takes.
const maxLines = 100_000

const byteOrderMark = "\ufeff"

// A text is a file, cut into lines. Every byte of it is in one of them.
type text struct {
	mark  string // byteOrderMark or ""
	lines []line
}

type line struct {
	body string
	end  string // "\n", "\r\n", or "" at the end of the file
}

// parse refuses what no editor of such files writes, and on whose lines the
// clients do not agree.
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
			return text{}, fmt.Errorf("%w: line %d has the control character %q", ErrFormat, len(t.lines), body[i])
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

// end is how lines end in t.
func (t text) end() string {
	if len(t.lines) > 0 && t.lines[0].end != "" {
		return t.lines[0].end
	}
	return "\n"
}

// A setting is a key and what it is to be.
type setting struct {
	key, value string
	always     bool // also where it is not yet
}

// newSettings returns what c means in a profile.
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
			return nil, fmt.Errorf("%w: value for %s is blank or has characters that none has", credentials.ErrIncomplete, s.key)
		}
	}
	return all, nil
}

// set returns t with settings in profile: each occurrence of a key has the new
// value, and what is missing stands in the profile's last section, which is
// made if there is none.
func (t text) set(profile string, settings []setting) text {
	out := text{t.mark, slices.Clone(t.lines)}
	places := goPlaces(t)
	found := make(map[string]bool)
	after := -1 // the line below which missing keys go
	for i, p := range places {
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
	indent := t.indent(places, after)
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

// indent returns the blanks that keys beside line i begin with: its own, or
// those of the first key below a header. A line that is indented deeper than
// the one before continues it.
func (t text) indent(places []place, i int) string {
	if i < 0 {
		return ""
	}
	if places[i].kind == header {
		below := slices.IndexFunc(places[i+1:], func(p place) bool { return p.kind != nothing })
		if below < 0 || places[i+1+below].kind == header {
			return ""
		}
		i += 1 + below
	}
	body := t.lines[i].body
	return body[:len(body)-len(strings.TrimLeft(body, " \t"))]
}

// withValue returns the line of a property with another value, which replaces
// all that some client takes for the value, among it a comment behind it.
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
