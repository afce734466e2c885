package vending

import (
	"runtime"
	"testing"
)

func TestCachePath(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the paths in this test are not Windows paths")
	}
	for _, test := range []struct {
		goos string
		env  map[string]string
		want string // "": an error
	}{
		{"linux", map[string]string{"HOME": "/h", "XDG_CACHE_HOME": "/c"}, "/c/holdfast"},
		{"linux", map[string]string{"HOME": "/h"}, "/h/.cache/holdfast"},
		{"linux", map[string]string{"HOME": "/h", "XDG_CACHE_HOME": "relative"}, "/h/.cache/holdfast"},
		{"freebsd", map[string]string{"HOME": "/h"}, "/h/.cache/holdfast"},
		{"linux", nil, ""},
		{"linux", map[string]string{"HOME": "relative"}, ""},
		{"darwin", map[string]string{"HOME": "/h", "XDG_CACHE_HOME": "/c"}, "/h/Library/Caches/holdfast"},
		{"darwin", nil, ""},
		{"windows", map[string]string{"LocalAppData": "/l", "HOME": "/h"}, "/l/holdfast"},
		{"windows", map[string]string{"HOME": "/h"}, ""},
	} {
		got, err := cachePath(test.goos, func(name string) string { return test.env[name] })
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s, %v: %q, %v, want %q", test.goos, test.env, got, err, test.want)
		}
	}
}
