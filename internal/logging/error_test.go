package logging

import (
	"errors"
	"slices"
	"testing"
)

func TestError(t *testing.T) {
	err := errors.New("failed")
	if got := Error(err, ""); !slices.Equal(got, []any{"error", err}) {
		t.Errorf("%q", got)
	}
	if got := Error(err, "try again"); !slices.Equal(got, []any{"error", err, "hint", "try again"}) {
		t.Errorf("%q", got)
	}
}
