package logging

import (
	"log/slog"
	"testing"
)

func TestOrDiscard(t *testing.T) {
	if l := slog.New(slog.DiscardHandler); OrDiscard(l) != l {
		t.Error("OrDiscard does not return its argument")
	}
	if l := OrDiscard(nil); l.Enabled(t.Context(), slog.LevelError) {
		t.Error("the logger for nil does not discard errors")
	}
}
