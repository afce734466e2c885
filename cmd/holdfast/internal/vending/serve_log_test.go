package vending

import (
	"strings"
	"testing"
)

// Hints in the log of serve name flags instead of Go fields.
func TestLogNamesFlags(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var b strings.Builder
		newLog(&b, format, false).Warn("not reloaded", "hint", "give more time with Config.Timeout")
		if text := b.String(); !strings.Contains(text, "give more time with --timeout") {
			t.Errorf("%s: %s", format, text)
		}
	}
}
