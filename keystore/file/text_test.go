package file

import (
	"runtime"
	"testing"
)

func TestQuote(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("these are words of a Unix shell")
	}
	for path, want := range map[string]string{
		"/etc/pki/app-1.key": "/etc/pki/app-1.key", "my key": "'my key'", "-x": "./-x", "$HOME": "'$HOME'", "it's": `'it'\''s'`, "é": "'é'",
	} {
		if got := quote(path); got != want {
			t.Errorf("%s becomes %s, want %s", path, got, want)
		}
	}
}
