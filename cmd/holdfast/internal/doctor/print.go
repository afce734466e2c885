package doctor

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/internal/lookup"
)

const (
	columns    = 80
	nameColumn = 9  // after the state
	textColumn = 24 // after the longest name
)

var colors = lookup.Table[state, string]{{ok, "\x1b[32m"}, {warning, "\x1b[33m"}, {fault, "\x1b[31m"}, {skipped, "\x1b[2m"}}

// write writes one result: the state, the name, what was seen, and below it the
// hint and the command.
func (r result) write(w io.Writer, colored bool) error {
	var b strings.Builder
	left := fmt.Sprintf("%-*s%-*s", nameColumn, r.State, textColumn-nameColumn, r.Check)
	if colored {
		left = colors.Get(r.State) + string(r.State) + "\x1b[0m" + left[len(r.State):]
	}
	for i, line := range shorten(wrap(r.Seen, columns-textColumn)) {
		if i > 0 {
			left = strings.Repeat(" ", textColumn)
		}
		b.WriteString(strings.TrimRight(left+line, " ") + "\n")
	}
	indent := strings.Repeat(" ", nameColumn)
	if r.Hint != "" && r.State != ok {
		for _, line := range shorten(wrap(r.Hint, columns-nameColumn)) {
			b.WriteString(indent + line + "\n")
		}
	}
	if r.Command != "" {
		mark := "→ "
		for _, line := range breakCommand(r.Command, columns-nameColumn-2) {
			b.WriteString(indent + mark + line + "\n")
			mark = "  "
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// The report shows no more of a text than this. The JSON form has all of it.
const (
	maxLines = 50
	maxLine  = 4096 // bytes
)

// shorten shortens lines that nobody reads, such as those of a very long setting.
func shorten(lines []string) []string {
	if len(lines) > maxLines {
		lines = append(lines[:maxLines], "…")
	}
	for i, line := range lines {
		if len(line) > maxLine {
			lines[i] = strings.ToValidUTF8(line[:maxLine], "") + "…"
		}
	}
	return lines
}

// wrap breaks text between words into lines of at most width characters. It never
// breaks a word, which may be copied, so a line of one word can be longer.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case columnsOf(line)+1+columnsOf(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
}

// columnsOf returns how many columns of a terminal a text takes. Most characters of
// Chinese, Japanese and Korean take two (UAX #11).
func columnsOf(text string) (n int) {
	for _, c := range text {
		n++
		if c >= 0x1100 && c <= 0x115f || c >= 0x2e80 && c <= 0xa4cf || c >= 0xac00 && c <= 0xd7a3 || c >= 0xf900 && c <= 0xfaff ||
			c >= 0xfe30 && c <= 0xfe6f || c >= 0xff00 && c <= 0xff60 || c >= 0x1f300 && c <= 0x1faff || c >= 0x20000 && c <= 0x3fffd {
			n++
		}
	}
	return n
}

// breakCommand breaks a command for a shell between words into lines that end
// with a backslash, so that all of them can be pasted together. A quoted word is
// never broken, so a line can be longer than width.
func breakCommand(text string, width int) (lines []string) {
	line := ""
	for _, word := range shellWords(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line+" "+word) <= width-2:
			line += " " + word
		default:
			lines, line = append(lines, line+` \`), "  "+word
		}
	}
	return append(lines, line)
}

// shellWords splits a command at spaces outside of quotation marks, and keeps the
// marks.
func shellWords(text string) (words []string) {
	var quote rune
	escaped := false
	begin := 0
	for i, c := range text {
		switch {
		case escaped:
			escaped = false
		case c == '\\' && quote != '\'':
			escaped = true
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == ' ':
			if i > begin {
				words = append(words, text[begin:i])
			}
			begin = i + 1
		}
	}
	if begin < len(text) {
		words = append(words, text[begin:])
	}
	return words
}

// summary is the last line of the report.
func summary(results []result, online bool) string {
	faults, warnings, first := 0, 0, ""
	text := "no fault found"
	for _, r := range results {
		if r.Check == "key" && r.State == skipped && strings.Contains(r.Command, "--use-pin") {
			text += "; --use-pin opens the key"
		}
		switch {
		case r.State == fault:
			if faults++; faults == 1 {
				first = r.Check
			}
		case r.State == warning:
			if warnings++; first == "" {
				first = r.Check
			}
		}
	}
	counts := count(faults, "fault") + ", " + count(warnings, "warning")
	switch {
	case faults+warnings > 1:
		return counts + "; begin with " + first
	case faults+warnings == 1:
		return counts
	case !online:
		text += "; --online creates a session"
	}
	return text
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
