//go:build unix

package front

import (
	"os/exec"
	"testing"
)

func TestShellQuote(t *testing.T) {
	for text, want := range map[string]string{
		"/run/user/1/a.token": "/run/user/1/a.token", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "a;b": "'a;b'", "~/x": "'~/x'",
	} {
		got := ShellQuote(text)
		if got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
		if out, err := exec.Command("sh", "-c", "printf %s "+got).Output(); err != nil || string(out) != text {
			t.Errorf("%q: the shell reads %q, %v", text, out, err)
		}
	}
}
