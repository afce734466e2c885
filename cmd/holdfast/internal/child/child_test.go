package child

import (
	"slices"
	"testing"
)

func TestWithoutVariables(t *testing.T) {
	env := []string{"PATH=/bin", "KEY=k", "KEYS=x", "CERT=c", "PIN=p", "FILE=f"}
	for _, test := range []struct {
		names, want []string
	}{
		{nil, env},
		{[]string{"KEY", "CERT", "PIN"}, []string{"PATH=/bin", "KEYS=x", "FILE=f"}},
		{[]string{"NONE", "FILE"}, env[:5]},
	} {
		if got := WithoutVariables(slices.Clone(env), test.names); !slices.Equal(got, test.want) {
			t.Errorf("without %q: got %q, want %q", test.names, got, test.want)
		}
	}
}
