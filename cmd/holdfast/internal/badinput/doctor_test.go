//go:build linux

package badinput

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// doctorCases are command lines that doctor refuses without a report.
func doctorCases(*pki) (all []badInput) {
	usage := func(name, culprit, hint string, args ...string) {
		all = append(all, badInput{name: "doctor: " + name, bare: true, args: append([]string{"doctor"}, args...), code: front.ExitUsage, culprit: culprit, hint: hint})
	}
	usage("unknown flag", "--no-such-flag", "doctor --help", "--no-such-flag")
	usage("an argument", "app", "doctor --profile app", "app")
	usage("profile without a value", "--profile", "doctor --help", "--profile")
	usage("module timeout 0", "--module-timeout", "doctor --help", "--module-timeout", "0s")
	usage("module timeout is text", "--module-timeout", "", "--module-timeout", "soon")
	usage("online is text", "--online", "", "--online=perhaps")
	all = append(all,
		badInput{name: "probe-module: nothing", bare: true, args: []string{"probe-module"}, code: front.ExitUsage, culprit: "empty", hint: "reference"},
		badInput{name: "probe-module: no reference", bare: true, args: []string{"probe-module", "--in", "pkcs11:a;b"}, code: front.ExitUsage, culprit: "pkcs11", hint: "pkcs11:token"},
		badInput{name: "probe-module: a file", bare: true, args: []string{"probe-module", "--in", "cert.pem"}, code: front.ExitUnavailable, culprit: "unsupported", hint: "references"},
	)
	return all
}

// configurations are AWS configurations that doctor reports as a fault.
var configurations = map[string]string{
	"binary":             "\x7fELF\x02\x01\x01\x00\xfe\xed\xfa\xce",
	"zeros":              strings.Repeat("\x00", 4096),
	"UTF-16":             "\xff\xfe[\x00a\x00]\x00",
	"only a bracket":     "[",
	"endless section":    "[profile " + strings.Repeat("a", 1<<20),
	"many sections":      strings.Repeat("[profile app]\n", 1<<16),
	"deep indentation":   "[profile app]\n" + strings.Repeat(" ", 1<<20) + "credential_process = x\n",
	"quotes":             "[profile app]\ncredential_process = " + strings.Repeat(`"`, 1<<16+1) + "\n",
	"backslashes":        "[profile app]\ncredential_process = holdfast " + strings.Repeat(`\`, 1<<16+1) + "\n",
	"long word":          "[profile app]\nsource_profile = none\nrole_arn = r\ncredential_process = holdfast credential-process " + strings.Repeat("x", 900_000) + "\n",
	"many variables":     "[profile app]\ncredential_process = holdfast credential-process '" + strings.Repeat("$PATH", 100_000) + "\n",
	"control characters": "[profile app]\ncredential_process = \x1b[2J\u202e\n",
	"circle":             "[profile app]\nrole_arn = r\nsource_profile = app\n",
	"many profiles":      manyProfiles(),
	"PIN in the command": "[profile app]\ncredential_process = holdfast credential-process --certificate cert.pem --private-key key.pem --pkcs8-password '" + testPassword + "\n",
}

func manyProfiles() string {
	var b strings.Builder
	b.WriteString("[profile app]\nrole_arn = r\nsource_profile = p0\n")
	for i := range 5000 {
		b.WriteString("[profile p" + strconv.Itoa(i) + "]\nrole_arn = r\nsource_profile = p" + strconv.Itoa(i+1) + "\n")
	}
	return b.String()
}

// TestBadInputOfDoctor runs doctor with the bad input of credential-process, and
// with bad AWS configurations: it reports a fault, with the same exit code for files.
func TestBadInputOfDoctor(t *testing.T) {
	t.Parallel()
	base, program := buildProgram(t)
	p := newPKI(t)
	var cases []badInput
	for _, group := range []func(*pki) []badInput{fileCases, keyCases, certificateCases, arnCases} {
		for _, c := range group(p) {
			if !c.bare && c.serve == nil { // the others are refused only by the service
				c.args = append(append([]string{"doctor", "--json"}, goodFlags[1:]...), c.args...)
				c.bare = true
				cases = append(cases, c)
			}
		}
	}
	for name, text := range configurations {
		cases = append(cases, badInput{name: "configuration: " + name, bare: true, args: []string{"doctor", "--json", "--profile", "app"}, setup: func(s *scene) {
			s.must(os.Mkdir(s.path(".aws"), 0o700))
			s.write(".aws/config", []byte(text))
		}})
	}
	slots := make(chan struct{}, badInputBound)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			s := newScene(t, p, filepath.Join(base, strconv.Itoa(i)))
			r := s.run(program, c)
			r.checkReport(t, c, s.secrets(c))
		})
	}
}

// checkReport checks a report with a fault.
func (r result) checkReport(t *testing.T, c badInput, secrets []string) {
	var report struct {
		State  string
		Checks []struct{ State, Seen, Hint, Command string }
	}
	switch err := json.Unmarshal([]byte(r.stdout), &report); {
	case r.killed:
		t.Errorf("does not end within %v", cmp.Or(c.time, badInputTime))
	case err != nil:
		t.Errorf("no report: %v: %q", err, r.stdout)
	case report.State != "fault" || r.code == 0:
		t.Errorf("no fault, exit code %d: %s", r.code, r.stdout)
	}
	if r.sent > 0 {
		t.Errorf("the server got %d", r.sent)
	}
	if r.memory > badInputMemory {
		t.Errorf("took %d MiB of memory", r.memory>>20)
	}
	text := r.stdout + r.stderr
	for _, check := range report.Checks {
		if check.State == "fault" && (check.Seen == "" || check.Command == "") {
			t.Errorf("incomplete: %+v", check)
		}
		for _, s := range []string{check.Seen, check.Hint, check.Command} {
			text += s
			if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("control characters: %q", s)
			}
		}
	}
	if found := goType.FindString(text); found != "" {
		t.Errorf("the report has %q", found)
	}
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("the report has the secret %q", secret)
		}
	}
}
