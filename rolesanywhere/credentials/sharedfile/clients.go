package sharedfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A meaning describes how a client interprets a line.
type meaning struct {
	kind    kind
	section string
	key     string // in lower case
}

type kind int

const (
	ignored      kind = iota // blank line, comment, or a line without effect
	header                   // the first line of a section
	property                 // key and value
	continuation             // of a property: part of its value, or a nested key
)

// goMeanings interprets t like the AWS SDK for Go v2 (config 1.33.15,
// internal/ini). In the cases that matter here, clients that follow the AWS
// reference guide do the same: the last value of a key applies, and sections
// with the same name are merged.
func goMeanings(t text) []meaning {
	meanings := make([]meaning, len(t.lines))
	var section, key string
	open := false // the property's own value is empty, so indented lines are nested keys
	for i, l := range t.lines {
		if i == 0 {
			l.body = t.mark + l.body // so that a first line with a mark is not a header
		}
		trimmed := strings.TrimSpace(l.body)
		if trimmed == "" || isComment(trimmed) {
			continue
		}
		if name, ok := goHeader(l.body); ok {
			section, key = name, ""
			meanings[i] = meaning{header, section, ""}
			continue
		}
		indented := l.body[0] == ' ' || l.body[0] == '\t'
		k, v, ok := splitProperty(trimmed)
		if !indented {
			k, v, ok = splitProperty(trimComment(l.body))
		}
		switch {
		case section == "":
		case indented && key != "" && (open || !ok):
			meanings[i] = meaning{continuation, section, key}
		case ok:
			key, open = k, unquote(strings.TrimSpace(trimComment(v))) == ""
			meanings[i] = meaning{property, section, key}
		}
	}
	return meanings
}

func isComment(s string) bool { return s[0] == '#' || s[0] == ';' }

// trimComment removes a comment that follows a space or a tab.
func trimComment(s string) string {
	for _, mark := range []string{" #", " ;", "\t#", "\t;"} {
		s, _, _ = strings.Cut(s, mark)
	}
	return s
}

func goHeader(s string) (name string, ok bool) {
	if i := strings.IndexAny(s, "#;"); i >= 0 {
		s = s[:i]
	}
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, "[") || !strings.HasSuffix(s, "]") {
		return "", false
	}
	s = strings.TrimSpace(s[1 : len(s)-1])
	if i := strings.IndexAny(s, " \t"); i > 0 {
		s = s[:i] + " " + strings.TrimLeft(s[i:], " \t")
	}
	return s, true
}

func unquote(s string) string {
	if len(s) > 1 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

func splitProperty(s string) (key, value string, ok bool) {
	i := strings.IndexAny(s, "=:")
	if i < 0 {
		return "", "", false
	}
	return strings.ToLower(strings.TrimSpace(s[:i])), strings.TrimSpace(s[i+1:]), true
}

// pythonMeanings interprets t like botocore, which uses RawConfigParser of
// Python's configparser. An error means that botocore cannot read the file at
// all.
func pythonMeanings(t text) ([]meaning, error) {
	if t.mark != "" {
		return nil, errors.New("it begins with a byte order mark")
	}
	meanings := make([]meaning, len(t.lines))
	seen := make(map[meaning]int)
	var section, key string
	level := 0 // indentation of the line that the following lines may continue
	for i, l := range t.lines {
		if !utf8.ValidString(l.body) {
			return nil, fmt.Errorf("line %d is not UTF-8", i+1)
		}
		value := strings.TrimSpace(l.body)
		if value == "" || isComment(value) {
			continue
		}
		indent := utf8.RuneCountInString(l.body[:strings.IndexFunc(l.body, isNotSpace)])
		if key != "" && indent > level {
			meanings[i] = meaning{continuation, section, key}
			continue
		}
		level = indent
		var p meaning
		k, _, ok := splitProperty(value)
		if last := strings.LastIndex(value, "]"); value[0] == '[' && last > 1 {
			p = meaning{header, value[1:last], ""}
		} else if section == "" {
			return nil, fmt.Errorf("line %d is outside a profile", i+1)
		} else if !ok || k == "" {
			return nil, fmt.Errorf("line %d is neither [PROFILE] nor KEY = VALUE", i+1)
		} else {
			p = meaning{property, section, k}
		}
		if first, repeated := seen[p]; repeated && p != (meaning{header, "DEFAULT", ""}) {
			return nil, fmt.Errorf("line %d repeats line %d", i+1, first)
		}
		seen[p], meanings[i] = i+1, p
		section, key = p.section, p.key
	}
	return meanings, nil
}

func isNotSpace(r rune) bool { return !unicode.IsSpace(r) }

// verify checks that clients read settings in profile of the changed text, and
// everything else as in the old text. If Python clients cannot read the old
// text, verify returns the reason as unreadable and does not check them.
func verify(old, changed text, profile string, settings []setting) (unreadable, err error) {
	meanings := goMeanings(changed)
	if err := compare(old, goMeanings(old), changed, meanings, profile, settings); err != nil {
		return nil, err
	}
	if err := checkHeaders(changed, meanings, profile); err != nil {
		return nil, err
	}
	if err := checkKeys(changed, meanings); err != nil {
		return nil, err
	}
	before, unreadable := pythonMeanings(old)
	if unreadable != nil {
		return unreadable, nil
	}
	after, err := pythonMeanings(changed)
	if err != nil {
		return nil, fmt.Errorf("%w: the AWS CLI could not read the changed file: %w", ErrFormat, err)
	}
	if err := compare(old, before, changed, after, profile, settings); err != nil {
		return nil, err
	}
	return nil, checkDefaults(after, profile, settings)
}

// checkHeaders refuses a header of profile that the AWS SDK for JavaScript
// (shared-ini-file-loader 4) does not recognize: in that SDK, a comment must
// follow a space.
func checkHeaders(t text, meanings []meaning, profile string) error {
	for i, p := range meanings {
		if p.kind != header || p.section != profile {
			continue
		}
		if _, rest, _ := strings.Cut(t.lines[i].body, "]"); rest != "" && isComment(rest) {
			return fmt.Errorf("%w: some clients do not recognize the header in line %d: its comment must follow a space", ErrFormat, i+1)
		}
	}
	return nil
}

// checkKeys refuses keys of which clients make different lower-case keys.
func checkKeys(t text, meanings []meaning) error {
	for i, p := range meanings {
		if p.kind != property {
			continue
		}
		name, _, _ := strings.Cut(t.lines[i].body, "=")
		name, _, _ = strings.Cut(name, ":")
		if strings.ContainsFunc(name, foldsDifferently) {
			return fmt.Errorf("%w: clients read the key in line %d differently: it contains a capital letter that only some of them change to lower case", ErrFormat, i+1)
		}
	}
	return nil
}

// foldsDifferently reports whether clients change r to different lower-case
// letters: ASCII letters that some of them do not recognize, such as the Kelvin
// sign, or several letters, or letters that depend on those around them.
func foldsDifferently(r rune) bool {
	return r >= utf8.RuneSelf && (unicode.ToLower(r) < utf8.RuneSelf || r == 'Σ')
}

// checkDefaults refuses settings in the section DEFAULT that profile does not
// have. Python clients would use them with the new keys of the profile.
func checkDefaults(meanings []meaning, profile string, settings []setting) error {
	for _, s := range settings {
		in := func(section string) bool { return slices.Contains(meanings, meaning{property, section, s.key}) }
		if in("DEFAULT") && !in(profile) {
			return fmt.Errorf("%w: the AWS CLI uses %s of [DEFAULT] in every profile", ErrFormat, s.key)
		}
	}
	return nil
}

// compare compares the lines of both texts and their meanings, except the lines
// to be changed. A client reads equal lines with equal meanings alike. It also
// checks that the new values are in place.
func compare(old text, before []meaning, changed text, after []meaning, profile string, settings []setting) error {
	value := make(map[string]string)
	for _, s := range settings {
		value[s.key] = s.value
	}
	// next returns the first line from i on that must be unchanged.
	next := func(meanings []meaning, i int) int {
		for ; i < len(meanings); i++ {
			p := meanings[i]
			_, ours := value[p.key]
			ours = ours && p.kind == property || p.kind == header
			if p.kind != ignored && !(ours && p.section == profile) {
				break
			}
		}
		return i
	}
	i, j := next(before, 0), next(after, 0)
	for i < len(before) && j < len(after) && before[i] == after[j] && old.lines[i].body == changed.lines[j].body {
		i, j = next(before, i+1), next(after, j+1)
	}
	if i < len(before) {
		return fmt.Errorf("%w: some clients would read line %d differently than before", ErrFormat, i+1)
	}
	if j < len(after) {
		return fmt.Errorf("%w: some clients would read additional settings", ErrFormat)
	}
	found := make(map[string]bool)
	for i, p := range after {
		want, ours := value[p.key]
		if p.section != profile || !ours {
			continue
		}
		if _, v, _ := splitProperty(changed.lines[i].body); p.kind != property || v != want {
			return fmt.Errorf("%w: some clients read a line below %s as part of its value", ErrFormat, p.key)
		}
		found[p.key] = true
	}
	for _, s := range settings {
		if s.always && !found[s.key] {
			return fmt.Errorf("%w: some clients would not find %s in profile %q", ErrFormat, s.key, profile)
		}
	}
	return nil
}
