//go:build unix

package pinentry

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A fake pinentry in sh records the commands that it gets in $RECORD. Its replies
// to GETPIN are in $1.
const fake = `#!/bin/sh
trap "" TERM
env >"$0.env"
echo "OK Pleased to meet you"
while read -r line; do
	printf '%s\n' "$line" >>"$0.log"
	case $line in
	SETTIMEOUT*|SETTITLE*) echo "ERR 536871187 Unknown IPC command <User defined source 1>" ;;
	GETPIN*|MESSAGE*) ANSWER ;;
	*) echo OK ;;
	esac
done
`

func program(t *testing.T, answer string) Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pinentry")
	if err := os.WriteFile(path, []byte(strings.Replace(fake, "ANSWER", answer, 1)), 0o700); err != nil {
		t.Fatal(err)
	}
	return Program{Path: path, Environ: os.Environ()}
}

func TestAsk(t *testing.T) {
	for _, c := range []struct {
		name, answer, want string
		err                error
	}{
		{"plain", `printf 'D 1234\nOK\n'`, "1234", nil},
		{"escaped", `printf 'D a%%25b%%0A%%0dc %% d%%\nOK\n'`, "a%b\n\rc % d%", nil},
		{"not UTF-8", `printf 'D Schl\374ssel\nOK\n'`, "Schl\xfcssel", nil},
		{"in parts", `printf '# comment\nS STATUS x\nD 12\nD 34\nOK done\n'`, "1234", nil},
		{"CR LF", `printf 'D 1234\r\nOK\r\n'`, "1234", nil},
		{"empty", `echo OK`, "", nil},
		{"inquiry", `echo INQUIRE QUALITY; read -r x; echo "D $x"; echo OK`, "CAN", nil},
		{"canceled", `echo "ERR 83886179 Operation cancelled <Pinentry>"`, "", ErrCanceled},
		{"fully canceled", `echo "ERR 83886278 Operation fully cancelled"`, "", ErrCanceled},
		{"not confirmed", `printf 'D 12\nERR 83886194 Not confirmed\n'`, "", ErrCanceled},
		{"interrupted", `kill -INT $$`, "", ErrCanceled},
		{"timeout", `echo "ERR 83886142 Timeout <Pinentry>"`, "", ErrTimedOut},
		{"ends", `exit 1`, "", ErrProtocol},
		{"ends after data", `echo "D 1234"; exit 0`, "", ErrProtocol},
		{"another protocol", `echo 220 smtp`, "", ErrProtocol},
		{"no number", `echo ERR`, "", ErrProtocol},
		{"long line", `head -c 10000 /dev/zero | tr '\0' D`, "", ErrProtocol},
		{"endless", `yes S`, "", ErrProtocol},
		{"long input", `for i in 1 2 3 4 5 6; do printf 'D %0900d\n' 1; done; echo OK`, "", ErrProtocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := program(t, c.answer).Ask(t.Context(), Dialog{Description: "d", Prompt: "p"})
			if string(got) != c.want || !errors.Is(err, c.err) {
				t.Errorf("%q, %v; want %q, %v", got, err, c.want, c.err)
			}
			if err != nil && strings.Contains(err.Error(), "12") {
				t.Errorf("error %v shows the input", err)
			}
		})
	}
}

// Another refusal is an error that says what the program says.
func TestAskRefused(t *testing.T) {
	_, err := program(t, `echo "ERR 83918950 Inappropriate ioctl for device <Pinentry>"`).Ask(t.Context(), Dialog{})
	if !errors.Is(err, ErrNoTerminal) || errors.Is(err, ErrCanceled) || errors.Is(err, ErrTimedOut) || !strings.Contains(err.Error(), "Inappropriate ioctl") {
		t.Errorf("%v", err)
	}
	for _, answer := range []string{"ERR 83886340 No pinentry", "ERR 1 General"} {
		if _, err := program(t, "echo '"+answer+"'").Ask(t.Context(), Dialog{}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), answer[len(answer)-7:]) {
			t.Errorf("%s: %v", answer, err)
		}
	}
}

func TestAskWithoutProgram(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "file")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for _, path := range []string{"", "pinentry-none", plain, dir, filepath.Join(dir, "none")} {
		if _, err := (Program{Path: path}).Ask(t.Context(), Dialog{}); !errors.Is(err, ErrNotFound) || (path == plain) != strings.Contains(err.Error(), "executed") && path != dir {
			t.Errorf("%q: %v", path, err)
		}
	}
}

// The end of the context ends the program, even one that ignores SIGTERM and
// whose child keeps its output open.
func TestAskEnds(t *testing.T) {
	for answer, want := range map[string]error{`sleep 100`: context.Canceled, `sleep 100 & wait`: context.Canceled} {
		ctx, cancel := context.WithCancel(t.Context())
		p := program(t, `echo >"$0.asked"; `+answer)
		if err := syscall.Mkfifo(p.Path+".asked", 0o600); err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = os.ReadFile(p.Path + ".asked") // until the program has asked
			cancel()
		}()
		begin := time.Now()
		if _, err := p.Ask(ctx, Dialog{}); !errors.Is(err, want) {
			t.Errorf("%s: %v", answer, err)
		}
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("%s: took %v", answer, took)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := program(t, `sleep 100`).Ask(ctx, Dialog{}); !errors.Is(err, ErrTimedOut) {
		t.Errorf("%v", err)
	}
}

// The texts are encoded, and short enough. The program does not get secrets of the
// environment.
func TestAskSends(t *testing.T) {
	p := program(t, `echo OK`)
	p.Environ = append([]string{"PATH=" + os.Getenv("PATH")}, "LANG=de_DE.UTF-8", "LC_ALL=", "DISPLAY=:7", "WAYLAND_DISPLAY=w", "AWS_SECRET_ACCESS_KEY=s3cret", "PIN=s3cret", "XDG_RUNTIME_DIR=/run/x")
	p.TTY, p.Type = "/dev/pts/7", "xterm"
	d := Dialog{Title: "T%", Description: "line 1\nline 2 100%\r\x1b" + strings.Repeat("ü", 2000), Prompt: "PIN:", Warning: "last\ttry", Timeout: 50 * time.Second}
	if _, err := p.Ask(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(p.Path + ".log")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"OPTION ttyname=/dev/pts/7\n", "OPTION ttytype=xterm\n", "OPTION lc-ctype=de_DE.UTF-8\n", "OPTION lc-messages=de_DE.UTF-8\n",
		"SETTITLE T%25\n", "SETTIMEOUT 50\n", "SETERROR last%09try\n", "SETDESC line 1%0Aline 2 100%25%0D%1Bü", "SETPROMPT PIN:\n", "GETPIN\n",
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%q is not in %q", want, data)
		}
	}
	for line := range strings.Lines(string(data)) {
		if len(line) > 1000 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	env, err := os.ReadFile(p.Path + ".env")
	if err != nil {
		t.Fatal(err)
	}
	if text := string(env); strings.Contains(text, "s3cret") || !strings.Contains(text, "DISPLAY=:7\n") || !strings.Contains(text, "WAYLAND_DISPLAY=w\n") || !strings.Contains(text, "XDG_RUNTIME_DIR=/run/x\n") {
		t.Errorf("environment %q", text)
	}
}

func TestTell(t *testing.T) {
	p := program(t, `echo OK`)
	if err := p.Tell(t.Context(), Dialog{Description: "touch it"}); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(p.Path + ".log"); err != nil || !strings.Contains(string(data), "SETDESC touch it\n") || !strings.HasSuffix(string(data), "MESSAGE\n") {
		t.Errorf("%q, %v", data, err)
	}
}
