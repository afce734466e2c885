//go:build linux

package local_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The emulator logs each request with its result and without secrets. With
// --events -, standard error contains only the events.
func TestEmulatorLog(t *testing.T) {
	dir := t.TempDir()
	clitest.WriteFiles(t, dir, "p256")
	stranger := signertest.NewCA(t, "stranger")
	key := signertest.Key(t, "p256")
	if err := os.WriteFile(dir+"/stranger.pem", signertest.CertPEM(stranger.Issue(t, key, nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		flags []string
		want  []string
	}{
		{nil, []string{
			`^holdfast: info: answered method=POST path=/sessions status=201$`,
			`^holdfast: info: refused method=POST path=/sessions status=403 reason="AccessDeniedException: Untrusted signing certificate`,
			`^holdfast: info: refused method=GET path=/nosuch status=404 reason="UnknownOperationException: `,
			`^holdfast: info: refused method=GET path="/sessions status=201" status=404 reason="`,
			`^holdfast: info: refused method=GET path="/a\\nb\\u009b" status=404 reason="`,
			`^holdfast: info: refused method=GET path=/é{127}… status=404 reason=".{10,300}…"$`,
		}},
		{[]string{"--events", "-"}, []string{
			`^{.*"eventName":"CreateSession".*"accessKeyId":`,
			`^{.*"type":"AWSService".*"eventName":"AssumeRole".*"accessKeyId":`,
			`^{.*"eventName":"CreateSession".*"errorCode":"AccessDeniedException"`,
		}},
	} {
		url, flags, log, end, err := clitest.RunEmulatorLog(dir, append([]string{"--trust-anchor", "intermediate.pem"}, test.flags...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(end)
		for _, certificate := range []string{"cert.pem", "stranger.pem"} {
			cmd := exec.Command("holdfast", append([]string{"credential-process", "--certificate", certificate, "--private-key", "key.pem"}, strings.Fields(flags)...)...)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); (err == nil) != (certificate == "cert.pem") {
				t.Errorf("%s: %v\n%s", certificate, err, out)
			}
		}
		clitest.Ask(t, "GET", url+"/nosuch?X-Amz-Security-Token=secret")
		clitest.Ask(t, "GET", url+"/sessions%20status=201")
		clitest.Ask(t, "GET", url+"/a%0Ab%C2%9B")
		clitest.Ask(t, "GET", url+"/"+strings.Repeat("%C3%A9", 200))
		end()
		text := log.String()
		if n := strings.Count(text, "\n"); n != len(test.want) {
			t.Errorf("%q: %d lines, want %d:\n%s", test.flags, n, len(test.want), text)
		}
		for _, want := range test.want {
			if !regexp.MustCompile(`(?m)` + want).MatchString(text) {
				t.Errorf("%q: no line matches %s:\n%s", test.flags, want, text)
			}
		}
		if strings.Contains(text, "secret") && test.flags == nil {
			t.Errorf("a secret is logged: %s", text)
		}
	}
}

// The emulator answers and ends on SIGTERM if nobody reads its log or if the
// reader is gone. It counts the lines that it drops.
func TestEmulatorLogUnread(t *testing.T) {
	dir := t.TempDir()
	clitest.WriteFiles(t, dir, "p256")
	const requests = 600
	for _, test := range []struct {
		name, events string
		gone, late   bool // the reader is gone; it reads at the end
	}{
		{name: "unread"}, {name: "unread events", events: "-"}, {name: "late", late: true}, {name: "gone", gone: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			url, _, end, err := clitest.RunEmulatorTo(w, dir, "--trust-anchor", "ca.pem", "--events", test.events)
			if err != nil {
				t.Fatal(err)
			}
			defer end()
			w.Close()
			if test.gone {
				r.Close()
			}
			for range requests {
				if test.events == "" {
					clitest.Ask(t, "GET", url+"/"+strings.Repeat("a", 200))
				} else {
					clitest.Ask(t, "POST", url+"/sessions")
				}
			}
			if !test.late {
				return
			}
			text := make(chan []byte)
			go func() {
				all, _ := io.ReadAll(r)
				text <- all
			}()
			end()
			all := <-text
			lines, dropped := bytes.Count(all, []byte(" refused ")), 0
			for _, m := range regexp.MustCompile(`(?m)^holdfast: warning: log lines were dropped.* count=(\d+)$`).FindAllSubmatch(all, -1) {
				var n int
				fmt.Sscan(string(m[1]), &n)
				dropped += n
			}
			if dropped == 0 || lines+dropped != requests {
				t.Errorf("%d lines and %d dropped, want %d in all", lines, dropped, requests)
			}
		})
	}
}

// If standard output is a file that other users can read, the emulator warns once.
func TestEmulatorOutputExposed(t *testing.T) {
	for _, tt := range []struct {
		mode  fs.FileMode
		flags []string
		want  string
	}{
		{0o644, []string{"--export"}, "holdfast: warning: the file with the credentials of the administrator is accessible to other users (mode 0644); run umask 077 before the shell creates it, or chmod 600 on the file\n"},
		{0o640, nil, "(mode 0640)"},
		{0o600, []string{"--export"}, ""},
	} {
		out, err := os.Create(filepath.Join(t.TempDir(), "emulator.env"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if err := out.Chmod(tt.mode); err != nil {
			t.Fatal(err)
		}
		cmd := clitest.PlainCommand(t, append([]string{"emulator", "--listen", "127.0.0.1:0", "--state", filepath.Join(t.TempDir(), "state")}, tt.flags...)...)
		cmd.Stdout = out
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			log.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), "state read") { // the last line of the start
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Error(err)
				}
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, log.String())
		}
		warnings := 0
		if tt.want != "" {
			warnings = 1
		}
		if got := log.String(); strings.Count(got, "warning") != warnings || !strings.Contains(got, tt.want) {
			t.Errorf("mode %v, %q:\n%s", tt.mode, tt.flags, got)
		}
	}
}
