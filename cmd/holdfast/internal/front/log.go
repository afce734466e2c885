package front

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"unicode"

	"github.com/holdfast-dev/holdfast/keystore"
)

// A LogHandler writes records as lines of text, such as
// "holdfast: warning: text key=value". It quotes values like
// [slog.TextHandler], so that a value cannot look like another key. It writes
// each record with a single Write, so that concurrent records are not interleaved.
type LogHandler struct {
	W        io.Writer
	Level    slog.Level
	HintLine bool // write a hint as a line of its own, as after the error of a command
	attrs    []slog.Attr
}

// Enabled implements [slog.Handler].
func (h *LogHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.Level }

// Handle implements [slog.Handler].
func (h *LogHandler) Handle(_ context.Context, r slog.Record) error {
	r = withHint(r)
	level := strings.ToLower(r.Level.String())
	if r.Level == slog.LevelWarn {
		level = "warning"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "holdfast: %s: %s", level, r.Message)
	hint := ""
	write := func(a slog.Attr) bool {
		a = HintAttr(nil, a)
		if a.Key == "hint" && h.HintLine {
			hint = "hint: " + keystore.Redact(OneLine(a.Value.String())) + "\n"
			return true
		}
		fmt.Fprintf(&b, " %s=%s", a.Key, quoted(a.Value.Resolve().String()))
		return true
	}
	for _, a := range h.attrs {
		write(a)
	}
	r.Attrs(write)
	_, err := io.WriteString(h.W, keystore.Redact(OneLine(b.String()))+"\n"+hint)
	return err
}

// quoted returns a value with quotes if it needs them.
func quoted(s string) string {
	plain := func(r rune) bool {
		return unicode.IsPrint(r) && !strings.ContainsRune(" \"=\uFFFD", r) // U+FFFD: also invalid UTF-8
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return strconv.Quote(s)
}

// WithAttrs implements [slog.Handler].
func (h *LogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &LogHandler{h.W, h.Level, h.HintLine, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

// WithGroup returns h: lines have too few keys to need groups.
func (h *LogHandler) WithGroup(string) slog.Handler { return h }
