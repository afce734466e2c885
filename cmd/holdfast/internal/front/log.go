package front

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// A LogHandler writes records as lines of text, such as
// "holdfast: warning: text key=value". It writes each line with a single Write,
// so that concurrent lines are not interleaved.
type LogHandler struct {
	W     io.Writer
	Level slog.Level
	attrs []slog.Attr
}

// Enabled implements [slog.Handler].
func (h *LogHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.Level }

// Handle implements [slog.Handler].
func (h *LogHandler) Handle(_ context.Context, r slog.Record) error {
	level := strings.ToLower(r.Level.String())
	if r.Level == slog.LevelWarn {
		level = "warning"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "holdfast: %s: %s", level, r.Message)
	write := func(a slog.Attr) bool {
		a = HintAttr(nil, a)
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value.Resolve())
		return true
	}
	for _, a := range h.attrs {
		write(a)
	}
	r.Attrs(write)
	_, err := io.WriteString(h.W, OneLine(b.String())+"\n")
	return err
}

// WithAttrs implements [slog.Handler].
func (h *LogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &LogHandler{h.W, h.Level, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

// WithGroup returns h: lines have too few keys to need groups.
func (h *LogHandler) WithGroup(string) slog.Handler { return h }
