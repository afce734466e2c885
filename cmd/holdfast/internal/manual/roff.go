package main

import (
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// A page is a manual page in the language of man(7).
type page struct{ strings.Builder }

// lineLength is how long the lines of a page are before characters are escaped, so that
// its source can be read.
const lineLength = 72

// macro writes a line with a macro and its arguments, each in quotes.
func (p *page) macro(name string, args ...string) {
	p.WriteString("." + name)
	for _, arg := range args {
		p.WriteString(` "` + escape(arg) + `"`)
	}
	p.WriteString("\n")
}

// text writes texts that fill their lines, such as a paragraph.
func (p *page) text(text string) {
	for _, line := range front.Wrap(text, lineLength) {
		words := strings.Split(line, " ")
		for i, word := range words {
			words[i] = escape(word)
			if strings.ContainsAny(word, "-/_.=:0123456789") || strings.HasPrefix(word, "holdfast") {
				words[i] = `\%` + words[i] // a name is not hyphenated
			}
		}
		p.line(strings.Join(words, " "))
	}
}

// line writes a line whose characters are escaped already.
func (p *page) line(line string) {
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		line = `\&` + line // otherwise it is a macro
	}
	p.WriteString(line + "\n")
}

// verbatim writes lines as they are, in a font of equal widths.
func (p *page) verbatim(text string) {
	p.macro("EX")
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		p.line(escape(strings.TrimSuffix(line, "\n")))
	}
	p.macro("EE")
}

// paragraphs writes the paragraphs of a help text. Those with indented lines are
// verbatim.
func (p *page) paragraphs(text string) {
	for i, paragraph := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if i > 0 {
			p.macro("PP")
		}
		if strings.HasPrefix(paragraph, " ") || strings.Contains(paragraph, "\n ") {
			p.verbatim(paragraph)
		} else {
			p.text(paragraph)
		}
	}
}

// escapes are the characters that roff interprets, or that a printed page shows as
// others, so that they could not be copied: a hyphen, quotes, a tilde, a caret. Any
// hyphen may be a part of a name.
var escapes = strings.NewReplacer(
	`\`, `\e`, "-", `\-`, `"`, `\(dq`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "…", "...", "→", "->")

// escape returns text that roff shows as it is. Characters outside of ASCII are named
// by their numbers, because not every formatter knows the encoding of a page.
func escape(text string) string {
	var b strings.Builder
	for _, r := range escapes.Replace(text) {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, r)
		}
	}
	return b.String()
}

func bold(text string) string   { return `\fB` + escape(text) + `\fR` }
func italic(text string) string { return `\fI` + escape(text) + `\fR` }
