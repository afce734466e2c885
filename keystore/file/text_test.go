package file

import (
	"bytes"
	"runtime"
	"slices"
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

// Escapes in PEM take linear time to decode.
func TestHostileEscapesAreFast(t *testing.T) {
	for _, escape := range []string{`\`, `\u00`, "&#", "%", "%0", `\u00zz`, "&#10;"} {
		for _, end := range []string{"", "u00zz"} {
			text := slices.Concat([]byte("-----BEGIN A-----"), bytes.Repeat([]byte(escape), 900_000/len(escape)), []byte(end+"-----END A-----"))
			promptly(t, func() {
				if _, err := open(t.Context(), text); err == nil {
					t.Errorf("%q: opened", escape)
				}
			})
		}
	}
}
