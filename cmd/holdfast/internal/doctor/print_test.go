//go:build unix

package doctor

import (
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestWrite(t *testing.T) {
	long := "the key is in " + strings.Repeat("a", 100) + " and elsewhere"
	for _, test := range []struct {
		r       result
		colored bool
		want    string
	}{
		{result{State: ok, Check: "configuration", Seen: "fine"}, false, "ok       configuration  fine\n"},
		{result{State: ok, Check: "key", Seen: "fine", Hint: "not shown"}, false, "ok       key            fine\n"},
		{result{State: fault, Check: "key", Seen: "bad", Hint: "a hint", Command: "ls -l"}, false,
			"fault    key            bad\n         a hint\n         → ls -l\n"},
		{result{State: warning, Check: "key", Seen: "bad"}, true, "\x1b[33mwarning\x1b[0m  key            bad\n"},
		{result{State: skipped, Check: "key", Seen: long}, false,
			"skipped  key            the key is in\n" +
				strings.Repeat(" ", 24) + strings.Repeat("a", 100) + "\n" +
				strings.Repeat(" ", 24) + "and elsewhere\n"},
		{result{State: ok, Check: "chain", Seen: strings.Repeat("証明書", 5) + " " + strings.Repeat("認証局", 5)}, false,
			"ok       chain          " + strings.Repeat("証明書", 5) + "\n" + strings.Repeat(" ", 24) + strings.Repeat("認証局", 5) + "\n"},
	} {
		var b strings.Builder
		if err := test.r.write(&b, test.colored); err != nil || b.String() != test.want {
			t.Errorf("%q, %v, want %q", b.String(), err, test.want)
		}
	}
}

// A command that is broken into lines means the same to a shell.
func TestBreakCommand(t *testing.T) {
	sh := signertest.Require(t, "sh", "sh")
	for _, words := range [][]string{
		{"ls"},
		{"holdfast", "doctor", "--certificate", "/etc/pki/app/cert.pem", "--private-key", "pkcs11:token=prod;object=app", "--role-arn", "arn:aws:iam::111122223333:role/demo"},
		{"a b", "it's", `"`, `\`, "", strings.Repeat("x y ", 40), "$HOME", "ä", "*"},
	} {
		text := command(words...)
		lines := breakCommand(text, columns-nameColumn-2)
		for _, l := range lines {
			if n := utf8.RuneCountInString(l); n > columns-nameColumn-2 && strings.Contains(strings.TrimSuffix(strings.TrimSpace(l), ` \`), " --") {
				t.Errorf("%d columns: %s", n, l)
			}
		}
		out, err := exec.Command(sh, "-c", `show() { printf '%s\0' "$@"; }; show `+strings.Join(lines, "\n")).Output()
		if want := strings.Join(words, "\x00") + "\x00"; err != nil || string(out) != want {
			t.Errorf("%q, %v, want %q", out, err, want)
		}
	}
}

func TestWorst(t *testing.T) {
	for _, test := range []struct {
		results []result
		state   state
		code    int
	}{
		{nil, ok, 0},
		{[]result{fine("a"), skip("b")}, ok, 0},
		{[]result{fine("a"), warn("b")}, warning, 0},
		{[]result{warn("a"), failed(4, "b"), failed(2, "c")}, fault, 4},
	} {
		if s, code := worst(test.results); s != test.state || code != test.code {
			t.Errorf("%v: %s, %d", test.results, s, code)
		}
	}
}

func TestTool(t *testing.T) {
	if got := (result{}).tool("openssl x509 -in FILE -subj NAME", "a b", "/CN=x").Command; got != "openssl x509 -in 'a b' -subj /CN=x" {
		t.Error(got)
	}
}

// A text of any length is written in time that is linear, and shortened.
func TestLongText(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", 1<<20), strings.Repeat("x ", 1<<19), strings.Repeat("ä", 1<<19)} {
		var b strings.Builder
		if err := (result{State: fault, Check: "configuration", Seen: text, Hint: text}).write(&b, false); err != nil {
			t.Fatal(err)
		}
		if n := b.Len(); n > 2*(maxLines+1)*columns && n > 2*(maxLine+100) || !utf8.ValidString(b.String()) || !strings.Contains(b.String(), "…") {
			t.Errorf("%d bytes", n)
		}
	}
}
