package sharedfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A place says what a client takes a line for.
type place struct {
	kind    kind
	section string
	key     string // in small letters
}

type kind int

const (
	nothing      kind = iota // blank, a comment, or ignored
	header                   // the first line of a section
	property                 // key and value
	continuation             // of a property: more of its value, or a key nested in it
)

// goPlaces reads t as the AWS SDK for Go v2 does (config 1.33.15, internal/ini)
// and, where it matters here, those that follow the AWS reference guide: of
// several values of a key the last counts, and sections of one name are one.
func goPlaces(t text) []place {
	places := make([]place, len(t.lines))
	var section, key string
	open := false // the property's own value is empty: what is indented nests
	for i, l := range t.lines {
		if i == 0 {
			l.body = t.mark + l.body // which makes of a header none
		}
		trimmed := strings.TrimSpace(l.body)
		if trimmed == "" || isComment(trimmed) {
			continue
		}
		if name, ok := goHeader(l.body); ok {
			section, key = name, ""
			places[i] = place{header, section, ""}
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
			places[i] = place{continuation, section, key}
		case ok:
			key, open = k, unquote(strings.TrimSpace(trimComment(v))) == ""
			places[i] = place{property, section, key}
		}
	}
	return places
}

func isComment(s string) bool { return s[0] == '#' || s[0] == ';' }

// trimComment cuts a comment off that stands behind a blank.
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

// pythonPlaces reads t as botocore does, which is by RawConfigParser of
// Python's configparser. An error means that botocore reads nothing of it.
func pythonPlaces(t text) ([]place, error) {
	if t.mark != "" {
		return nil, errors.New("it begins with a byte order mark")
	}
	places := make([]place, len(t.lines))
	seen := make(map[place]int)
	var section, key string
	level := 0 // how far the line is indented that others may continue
	for i, l := range t.lines {
		if !utf8.ValidString(l.body) {
			return nil, fmt.Errorf("line %d is not UTF-8", i+1)
		}
		value := strings.TrimSpace(l.body)
		if value == "" || isComment(value) {
			continue
		}
		indent := utf8.RuneCountInString(l.body[:strings.IndexFunc(l.body, isNoSpace)])
		if key != "" && indent > level {
			places[i] = place{continuation, section, key}
			continue
		}
		level = indent
		var p place
		k, _, ok := splitProperty(value)
		if last := strings.LastIndex(value, "]"); value[0] == '[' && last > 1 {
			p = place{header, value[1:last], ""}
		} else if section == "" {
			return nil, fmt.Errorf("line %d is not below a profile", i+1)
		} else if !ok || k == "" {
			return nil, fmt.Errorf("line %d is neither [PROFILE] nor KEY = VALUE", i+1)
		} else {
			p = place{property, section, k}
		}
		if first, again := seen[p]; again && p != (place{header, "DEFAULT", ""}) {
			return nil, fmt.Errorf("line %d repeats line %d", i+1, first)
		}
		seen[p], places[i] = i+1, p
		section, key = p.section, p.key
	}
	return places, nil
}

func isNoSpace(r rune) bool { return !unicode.IsSpace(r) }

// verify reports whether clients read settings in profile of the changed text,
// and all else as in the old one. If Python's could not read the old one, the
// reason is returned as unreadable and nothing is asked of them.
func verify(old, changed text, profile string, settings []setting) (unreadable, err error) {
	places := goPlaces(changed)
	if err := compare(old, goPlaces(old), changed, places, profile, settings); err != nil {
		return nil, err
	}
	if err := checkHeaders(changed, places, profile); err != nil {
		return nil, err
	}
	before, unreadable := pythonPlaces(old)
	if unreadable != nil {
		return unreadable, nil
	}
	after, err := pythonPlaces(changed)
	if err != nil {
		return nil, fmt.Errorf("%w: the AWS CLI could not read what it would be: %w", ErrFormat, err)
	}
	if err := compare(old, before, changed, after, profile, settings); err != nil {
		return nil, err
	}
	return nil, checkDefaults(after, profile, settings)
}

// checkHeaders refuses what the AWS SDK for JavaScript (shared-ini-file-loader
// 4) takes for no header: for it a comment begins behind a blank.
func checkHeaders(t text, places []place, profile string) error {
	for i, p := range places {
		if p.kind != header || p.section != profile {
			continue
		}
		if _, rest, _ := strings.Cut(t.lines[i].body, "]"); rest != "" && isComment(rest) {
			return fmt.Errorf("%w: to some clients line %d is no header without a blank before its comment", ErrFormat, i+1)
		}
	}
	return nil
}

// checkDefaults refuses settings that Python's clients take from the section
// DEFAULT for a profile that does not have them, and use with its new keys.
func checkDefaults(places []place, profile string, settings []setting) error {
	for _, s := range settings {
		in := func(section string) bool { return slices.Contains(places, place{property, section, s.key}) }
		if in("DEFAULT") && !in(profile) {
			return fmt.Errorf("%w: the AWS CLI takes %s for each profile from [DEFAULT]", ErrFormat, s.key)
		}
	}
	return nil
}

// compare goes through the lines of both texts side by side, without those
// that were to be changed. Whatever a client makes of equal lines in equal
// places is equal.
func compare(old text, before []place, changed text, after []place, profile string, settings []setting) error {
	value := make(map[string]string)
	for _, s := range settings {
		value[s.key] = s.value
	}
	// next returns the first line from i on that has to be as it was.
	next := func(places []place, i int) int {
		for ; i < len(places); i++ {
			p := places[i]
			_, ours := value[p.key]
			ours = ours && p.kind == property || p.kind == header
			if p.kind != nothing && !(ours && p.section == profile) {
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
		return fmt.Errorf("%w: to some clients line %d would mean something else than before", ErrFormat, i+1)
	}
	if j < len(after) {
		return fmt.Errorf("%w: to some clients something new would stand there", ErrFormat)
	}
	found := make(map[string]bool)
	for i, p := range after {
		want, ours := value[p.key]
		if p.section != profile || !ours {
			continue
		}
		if _, v, _ := splitProperty(changed.lines[i].body); p.kind != property || v != want {
			return fmt.Errorf("%w: some clients take a line below %s for more of its value", ErrFormat, p.key)
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
