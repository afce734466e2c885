package environ

import (
	"slices"
	"testing"
)

func TestWithout(t *testing.T) {
	env := []string{"A=1", "PIN=s3cret", "PINX=2", "B", "=C:=x", "PIN=again"}
	if got := Without(env, []string{"PIN", "B"}); !slices.Equal(got, []string{"A=1", "PINX=2", "=C:=x"}) {
		t.Errorf("%q", got)
	}
}
