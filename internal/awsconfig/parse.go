package awsconfig

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Section is a part of a file between two headers. The File of its settings is
// empty.
type Section struct {
	Name     string
	Line     int
	Settings map[string]Setting
}

// A SyntaxError is the reason why a client refuses a whole file.
type SyntaxError struct {
	Line int
	Text string
}

// Error implements error.
func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

// Parse parses a file as a client does. Only Python refuses files; Go ignores
// the lines that it does not understand. An error is a [*SyntaxError].
func Parse(data []byte, client Client) ([]Section, error) {
	if client == Go {
		return parseGo(strings.Split(string(data), "\n")), nil
	}
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data)), "\n")
	if !utf8.Valid(data) {
		n := 1 + bytes.Count(data[:firstInvalid(data)], []byte("\n"))
		return nil, &SyntaxError{n, "is not UTF-8 text"}
	}
	return parsePython(lines)
}

func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return len(data)
}

// A builder collects sections. It takes a time proportional to the file.
type builder struct {
	sections []*Section
	named    map[string]*Section
	current  *Section // nil: before the first header
	key      string   // of the last setting; "": none
	lines    []string // of its value
	last     int      // the number of the last line that is not empty
}

// header begins a section, or continues an earlier one of the same name.
func (b *builder) header(name string, line int) {
	b.endValue()
	b.current = b.named[name]
	if b.current != nil {
		return
	}
	b.current = &Section{name, line, make(map[string]Setting)}
	b.sections = append(b.sections, b.current)
	if b.named == nil {
		b.named = make(map[string]*Section)
	}
	b.named[name] = b.current
}

// set begins a setting.
func (b *builder) set(key, value string, line int) {
	b.endValue()
	b.key, b.lines, b.last = key, []string{value}, line
	b.current.Settings[key] = Setting{Line: line}
}

// extend adds a line to the value of the last setting.
func (b *builder) extend(text string, line int) {
	b.lines = append(b.lines, text)
	if text != "" {
		b.last = line
	}
}

// endValue ends the last setting.
func (b *builder) endValue() {
	if b.key == "" {
		return
	}
	v := b.current.Settings[b.key]
	v.Value, v.End = strings.Join(b.lines, "\n"), b.last
	b.current.Settings[b.key] = v
	b.key, b.lines = "", nil
}

// end returns the sections.
func (b *builder) end() []Section {
	b.endValue()
	all := make([]Section, len(b.sections))
	for i, s := range b.sections {
		all[i] = *s
	}
	return all
}

// parsePython parses lines like RawConfigParser of Python.
func parsePython(lines []string) ([]Section, error) {
	var b builder
	indent := 0 // of the line of the last header or setting
	for i, line := range lines {
		text := strings.TrimSpace(line)
		depth := utf8.RuneCountInString(line) - utf8.RuneCountInString(strings.TrimLeftFunc(line, unicode.IsSpace))
		continues := b.key != "" && depth > indent
		switch {
		case text == "":
			if b.key != "" {
				b.extend("", i+1)
			}
			continue
		case isComment(text):
			continue
		case continues:
			b.extend(text, i+1)
			continue
		}
		indent = depth
		if err := b.line(text, i+1); err != nil {
			return nil, err
		}
	}
	b.endValue()
	b.applyDefaults()
	for _, s := range b.sections {
		for key, v := range s.Settings {
			v.Value = strings.TrimRight(v.Value, "\n")
			s.Settings[key] = v
			if err := checkNested(key, v); err != nil {
				return nil, err
			}
		}
	}
	return b.end(), nil
}

// defaults is the section whose settings Python adds to all others.
const defaults = "DEFAULT"

// applyDefaults removes the section with the defaults and adds its settings to
// the other sections.
func (b *builder) applyDefaults() {
	from := b.named[defaults]
	if from == nil {
		return
	}
	b.sections = slices.DeleteFunc(b.sections, func(s *Section) bool { return s == from })
	for _, s := range b.sections {
		for key, v := range from.Settings {
			if _, set := s.Settings[key]; !set {
				v.Inherited = true
				s.Settings[key] = v
			}
		}
	}
}

// checkNested returns an error if a value that begins on the line below its key
// is not a list of settings, as botocore requires.
func checkNested(key string, v Setting) error {
	if !strings.HasPrefix(v.Value, "\n") {
		return nil
	}
	for i, line := range strings.Split(v.Value, "\n") {
		if line != "" && !strings.Contains(line, "=") {
			return &SyntaxError{v.Line, fmt.Sprintf("the value of %s begins on another line, and line %d of it is not of the form KEY = VALUE", key, i)}
		}
	}
	return nil
}

// line parses a line that does not continue another one.
func (b *builder) line(text string, number int) error {
	refuse := func(format string, args ...any) error { return &SyntaxError{number, fmt.Sprintf(format, args...)} }
	if end := strings.LastIndex(text, "]"); strings.HasPrefix(text, "[") && end > 1 {
		name := text[1:end]
		if first := b.named[name]; first != nil && name != defaults {
			return refuse("section [%s] occurs twice; it began at line %d", name, first.Line)
		}
		b.header(name, number)
		return nil
	}
	if b.current == nil {
		if strings.HasPrefix(text, "\ufeff") {
			return refuse("the file begins with a byte order mark")
		}
		return refuse("is not in a section; a section begins with [profile NAME]")
	}
	at := strings.IndexAny(text, "=:")
	if at < 0 {
		return refuse("is neither a section nor a setting of the form KEY = VALUE")
	}
	key := strings.ToLower(strings.TrimSpace(text[:at]))
	if key == "" {
		return refuse("has no key before %q", text[at])
	}
	if v, again := b.current.Settings[key]; again {
		if strings.ContainsFunc(key, func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789_", r) }) {
			key = "a key" // it can be a part of a command line with a secret
		}
		return refuse("%s occurs twice in section [%s]; it was set at line %d", key, b.current.Name, v.Line)
	}
	b.set(key, strings.TrimSpace(text[at+1:]), number)
	return nil
}

func isComment(text string) bool { return strings.HasPrefix(text, "#") || strings.HasPrefix(text, ";") }

// parseGo parses lines like the SDK for Go.
func parseGo(lines []string) []Section {
	var b builder
	for i, line := range lines {
		line = strings.TrimSuffix(line, "\r")
		text := strings.TrimLeft(line, " \t")
		if strings.TrimSpace(line) == "" || isComment(text) {
			continue
		}
		if name, ok := goHeader(line); ok {
			b.header(name, i+1)
			continue
		}
		indented := len(text) < len(line)
		if !indented {
			text = trimComment(text)
		}
		key, value, isSetting := goSetting(text)
		switch {
		case b.current == nil:
		case isSetting && indented && b.key != "" && b.lines[0] == "": // part of a nested setting
		case isSetting && indented:
			b.set(key, strings.TrimSpace(trimComment(value)), i+1)
		case isSetting:
			b.set(key, value, i+1)
		case indented && b.key != "" && b.lines[0] != "":
			b.extend(text, i+1)
		}
	}
	return b.end()
}

// goHeader returns the name of a section.
func goHeader(line string) (string, bool) {
	line, _, _ = strings.Cut(line, "#")
	line, _, _ = strings.Cut(line, ";")
	line = strings.TrimSpace(line)
	if len(line) < 2 || line[0] != '[' || line[len(line)-1] != ']' {
		return "", false
	}
	name := strings.TrimSpace(line[1 : len(line)-1])
	if at := strings.IndexAny(name, " \t"); at >= 0 { // any white space between the two words
		name = name[:at] + " " + strings.TrimLeft(name[at:], " \t")
	}
	return name, name != ""
}

// trimComment removes a comment after a value.
func trimComment(s string) string {
	for _, mark := range []string{" #", " ;", "\t#", "\t;"} {
		s, _, _ = strings.Cut(s, mark)
	}
	return s
}

// goSetting splits a setting and removes the quotes around its value.
func goSetting(text string) (key, value string, ok bool) {
	at := strings.IndexAny(text, "=:")
	if at < 0 {
		return "", "", false
	}
	value = strings.TrimSpace(text[at+1:])
	for _, quote := range []string{"'", `"`} {
		if len(value) >= 2 && strings.HasPrefix(value, quote) && strings.HasSuffix(value, quote) {
			value = value[1 : len(value)-1]
			break
		}
	}
	return strings.ToLower(strings.TrimSpace(text[:at])), value, true
}
