package front

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// A value cannot look like another key or end the line.
func TestLogQuotesValues(t *testing.T) {
	for value, want := range map[string]string{
		"plain/é:1":   "plain/é:1",
		"":            `""`,
		"a b":         `"a b"`,
		"a=b":         `"a=b"`,
		`a"b`:         `"a\"b"`,
		"a\nb\x1b":    `"a\nb\x1b"`,
		"\u009b":      `"\u009b"`,
		"\u202e":      `"\u202e"`,
		"a\xffb":      `"a\xffb"`,
		"x\tstatus=1": `"x\tstatus=1"`,
	} {
		var b strings.Builder
		slog.New(&LogHandler{W: &b}).Info("text", "path", value, "error", errors.New(value), "n", 1)
		if line := "holdfast: info: text path=" + want + " error=" + want + " n=1\n"; b.String() != line {
			t.Errorf("%q, want %q", b.String(), line)
		}
	}
}
