package front

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
)

// WriteJSON writes v as one line of JSON. Characters that are not printable,
// such as the control sequences of terminals and the marks that change the
// direction of text, are escaped.
func WriteJSON(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = JSONWriter{w}.Write(append(data, '\n'))
	return err
}

// A JSONWriter writes lines of JSON with those characters escaped that are not
// printable. Each Write must consist of whole lines.
type JSONWriter struct{ W io.Writer }

// Write implements [io.Writer].
func (j JSONWriter) Write(p []byte) (int, error) {
	var b strings.Builder
	for _, r := range string(p) { // only strings contain such characters, except line ends
		if unicode.IsPrint(r) || r == '\n' {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	if _, err := io.WriteString(j.W, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}
