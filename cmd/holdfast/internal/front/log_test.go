package front

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
)

// The log has the hint that a command prints for the same error, once.
func TestLogHasHint(t *testing.T) {
	hinted := fmt.Errorf("role app: %w", signer.WithHint(errors.New("refused"), "give more time with Config.Timeout"))
	for _, handler := range []func(io.Writer) slog.Handler{
		func(w io.Writer) slog.Handler { return &LogHandler{W: w} },
		func(w io.Writer) slog.Handler {
			return HintHandler{slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: HintAttr})}
		},
	} {
		for _, test := range []struct {
			args []any
			want string // "": no hint
		}{
			{[]any{"error", hinted}, `hint="give more time with --timeout"`},
			{[]any{"error", hinted, "hint", "wait"}, `hint=wait`},
			{[]any{"error", errors.New("refused")}, ""},
			{[]any{"error", "refused"}, ""},
			{[]any{"cause", hinted}, ""},
		} {
			var b strings.Builder
			log := slog.New(handler(&b)).With("role", "app")
			log.Warn("failed", test.args...)
			text := b.String()
			if !strings.Contains(text, "role=app") || !strings.Contains(text, test.want) || strings.Count(text, "hint=") != min(1, len(test.want)) {
				t.Errorf("%v: %q", test.args, text)
			}
		}
	}
}

// A command writes the hint of a warning as it writes that of its error.
func TestLogHintLine(t *testing.T) {
	var b strings.Builder
	slog.New(&LogHandler{W: &b, HintLine: true}).Warn("failed", "role", "app", "hint", "give Config.Region or \x1bwait", "n", 1)
	if text, want := b.String(), "holdfast: warning: failed role=app n=1\nhint: give --region or ?wait\n"; text != want {
		t.Errorf("%q, want %q", text, want)
	}
}

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
