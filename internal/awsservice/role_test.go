package awsservice

import (
	"strings"
	"testing"
)

func TestIsRolePath(t *testing.T) {
	for path, want := range map[string]bool{
		"app": true, "team/app": true, "a:b/app": true, "a/b!/App_1+=,.@-": true, "...": true, strings.Repeat("r", 64): true,
		"": false, ".": false, "..": false, "../app": false, "a/../app": false, "a/.": false, "a/": false, "/app": false,
		"a//b": false, "a b": false, "ä": false, "a/b!": false, strings.Repeat("r", 65): false,
	} {
		if got := IsRolePath(path); got != want {
			t.Errorf("%q: %t, want %t", path, got, want)
		}
	}
}
