package logging

import (
	"log/slog"
	"testing"
)

func TestOrDiscard(t *testing.T) {
	if l := slog.New(slog.DiscardHandler); OrDiscard(l) != l {
		t.Error("it is another logger")
	}
	if l := OrDiscard(nil); l.Enabled(t.Context(), slog.LevelError) {
		t.Error("without a logger, errors are written")
	}
}
