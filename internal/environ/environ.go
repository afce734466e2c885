// Package environ edits the environment of programs that Holdfast starts.
package environ

import (
	"runtime"
	"slices"
	"strings"
)

// Without returns env without the named variables, such as those that contain a key or
// its PIN. It modifies env.
func Without(env, names []string) []string {
	return slices.DeleteFunc(env, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.ContainsFunc(names, func(other string) bool { return Same(other, name) })
	})
}

// Same reports whether two names denote the same variable. On Windows, names are
// case-insensitive.
func Same(a, b string) bool {
	return a == b || runtime.GOOS == "windows" && strings.EqualFold(a, b)
}
