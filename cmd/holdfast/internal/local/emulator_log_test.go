//go:build linux

package local_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
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
			`^holdfast: info: refused method=POST path=/sessions status=403 reason=AccessDeniedException: Untrusted signing certificate`,
			`^holdfast: info: refused method=GET path=/nosuch status=404 reason=UnknownOperationException: `,
		}},
		{[]string{"--events", "-"}, []string{
			`^{.*"eventName":"CreateSession".*"accessKeyId":`,
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
