package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// A logHandler writes records for people: "holdfast: warning: text key=value".
// Each is one Write, so that lines do not mix.
type logHandler struct {
	w     io.Writer
	level slog.Level
	attrs []slog.Attr
}

func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	level := strings.ToLower(r.Level.String())
	if r.Level == slog.LevelWarn {
		level = "warning"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "holdfast: %s: %s", level, r.Message)
	write := func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value.Resolve())
		return true
	}
	for _, a := range h.attrs {
		write(a)
	}
	r.Attrs(write)
	_, err := io.WriteString(h.w, oneLine(b.String())+"\n")
	return err
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.w, h.level, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

// WithGroup leaves keys as they are: no line has so many that groups would help.
func (h *logHandler) WithGroup(string) slog.Handler { return h }
