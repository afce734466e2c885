package front

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

// Hints in the log of serve name flags instead of Go fields.
func TestLogNamesFlags(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var b strings.Builder
		LogFormat(format).New(&b, false).Warn("not reloaded", "hint", "give more time with Config.Timeout")
		if text := b.String(); !strings.Contains(text, "give more time with --timeout") {
			t.Errorf("%s: %s", format, text)
		}
	}
}

// The log in JSON contains no control sequences of terminals, and is read as
// what was logged.
func TestLogJSONIsPrintable(t *testing.T) {
	for _, text := range []string{"\u009b31m", "\x7f", "\u202eright to left", "\U000e0041 tag", "a\nb", "naïve – ok"} {
		var b strings.Builder
		LogFormat("json").New(&b, false).Warn("m", "error", text)
		var line struct{ Error string }
		if err := json.Unmarshal([]byte(b.String()), &line); err != nil || line.Error != text {
			t.Errorf("%q: read as %q, %v", text, line.Error, err)
		}
		if s := strings.TrimSuffix(b.String(), "\n"); strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q: %q", text, s)
		}
	}
}
