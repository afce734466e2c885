package front

import (
	"context"
	"log/slog"

	"github.com/holdfast-dev/holdfast/signer"
)

// A HintHandler adds the hint of an error to each record that has one, as the
// messages of commands do. [LogHandler] does it itself.
type HintHandler struct{ slog.Handler }

// Handle implements [slog.Handler].
func (h HintHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.Handler.Handle(ctx, withHint(r))
}

// WithAttrs implements [slog.Handler].
func (h HintHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return HintHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (h HintHandler) WithGroup(name string) slog.Handler {
	return HintHandler{h.Handler.WithGroup(name)}
}

// LogHint returns the hint of an error for a log or a status page, or "". It leaves out
// the hints for all errors of a kind, which are written for a command that ends.
func LogHint(err error) string {
	if signer.Hint(err) == "" {
		return ""
	}
	_, hint := Explain(err)
	return HintText(hint)
}

// withHint returns r, if it is at least a warning, with the hint of its error at
// the end, unless it has a hint.
func withHint(r slog.Record) slog.Record {
	if r.Level < slog.LevelWarn {
		return r
	}
	hint, has := "", false
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && a.Key == "error" {
			hint = LogHint(err)
		}
		has = has || a.Key == "hint"
		return true
	})
	if hint != "" && !has {
		r = r.Clone()
		r.AddAttrs(slog.String("hint", hint))
	}
	return r
}
