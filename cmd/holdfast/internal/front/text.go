package front

import (
	"strings"
	"unicode"
)

// OneLine makes one line of s. It also keeps what stands in a file name from
// steering the terminal.
func OneLine(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
