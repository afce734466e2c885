//go:build linux

package pages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// walks are the pages, or sections of them, whose sh blocks run: in their order,
// as one script, in a folder with the files of the quick start.
//
// What would go to AWS goes to an emulator: holdfast and aws are scripts that add
// its URL. It knows the ARNs in $TRUST_ANCHOR_ARN, $PROFILE_ARN and $ROLE_ARN.
// aws_signing_helper is a script that fails.
// Ports are replaced by free ones. A block that begins with #! is a file, which
// its next line names. A block that runs the emulator is for a second terminal. A
// block of text after a command is the error with which the command fails.
var walks = []struct {
	page, section string
	begin         string // the section of the quick start that makes the CA
	readOnly      bool   // the root file system, if the test may
	needs         map[string]string
}{
	{"ci.md", "", "With OpenSSL instead", false, map[string]string{"awscli": "/usr/bin/aws", "curl": "curl", "softhsm": "softhsm2-util"}},
	{"containers.md", "", "With OpenSSL instead", true, map[string]string{"awscli": "/usr/bin/aws", "curl": "curl"}},
	{"exec.md", "Examples", "With OpenSSL instead", false, map[string]string{"jq": "jq", "cryptography": "/usr/lib/python3*/dist-packages/cryptography"}},
	{"migration.md", "Steps", "With OpenSSL instead", false, map[string]string{"awscli": "/usr/bin/aws"}},
	{"role-chaining.md", "Try it with the emulator", "With OpenSSL instead", false, map[string]string{"awscli": "/usr/bin/aws"}},
	{"pkcs11.md", "From nothing to credentials", "A CA and a certificate", false, map[string]string{"softhsm": "softhsm2-util"}},
}

// require ends the test if a program, or a file of a pattern, is not there.
func require(t *testing.T, name, program string) {
	t.Helper()
	if !strings.Contains(program, "*") {
		signertest.Require(t, name, program)
	} else if found, _ := filepath.Glob(program); len(found) == 0 {
		signertest.Skip(t, name, fmt.Errorf("no %s", program))
	}
}

// TestCommandsOfCA runs the page about a CA, which begins with an empty folder.
func TestCommandsOfCA(t *testing.T) {
	t.Parallel()
	r := newReader(t)
	r.sendTo("http://127.0.0.1:1") // nothing is sent
	r.run(script(t, "ca.md", ""))

	// While the root is replaced, certificates of both roots are accepted, and
	// afterwards only those of the new one. A revoked one never is.
	for _, c := range []struct{ anchors, crl, accepted, refused string }{
		{"both.pem", "", "app-2.pem cert2.pem", ""},
		{"both.pem", "next.pem", "cert2.pem", "app-2.pem"},
		{"ca2/ca.pem", "", "cert2.pem", "app-2.pem"},
	} {
		args := []string{"--trust-anchor", c.anchors}
		if c.crl != "" {
			args = append(args, "--crl", c.crl)
		}
		_, flags, stop, err := clitest.RunEmulator(r.dir, args...)
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		r.run(fmt.Sprintf(`
key() { if [ $1 = app-2.pem ]; then echo key-2.pem; else echo key.pem; fi; }
for cert in %s; do holdfast credential-process --certificate $cert --private-key $(key $cert) %s; done
for cert in %s; do if holdfast credential-process --certificate $cert --private-key $(key $cert) %[2]s; then exit 1; fi; done`, c.accepted, flags, c.refused))
	}
}

// wholeWalks are the pages and sections that need nothing but Holdfast and a device:
// the CA is Holdfast's own, and the page starts the emulator itself.
var wholeWalks = []struct {
	page, section string
	needs         map[string]string
	renewal       string // the command that renews the certificate, if there is one
}{
	{"quickstart.md", "A CA and a certificate", nil, ""},
	{"from-hsm.md", "", map[string]string{"awscli": "/usr/bin/aws", "curl": "curl", "softhsm": "softhsm2-util"}, "holdfast renew --config roles.toml"},
	{"from-tpm.md", "", map[string]string{"awscli": "/usr/bin/aws", "curl": "curl", "swtpm": "swtpm"}, "holdfast renew --config roles.toml"},
	{"ssh-agent.md", "From nothing to credentials", map[string]string{"openssh": "ssh-agent"}, ""},
	{"attestation.md", "Try it", map[string]string{"swtpm": "swtpm_setup", "tpm2-tools": "tpm2_pcrread"}, ""},
	{"renew-private-ca.md", "Try it with the emulator", nil, "holdfast renew --config roles.toml"},
	{"role-chaining.md", "Roles for pods", map[string]string{"awscli": "/usr/bin/aws"}, ""},
	{"serve-ssh-agent.md", "", map[string]string{"openssh": "ssh-add", "git": "git"}, ""},
	{"walkthrough-export.md", "", map[string]string{"awscli": "/usr/bin/aws", "jq": "jq"}, ""},
}

// opensslWalks are the walk-throughs that begin with nothing and make their
// certificates with other programs.
var opensslWalks = map[string]map[string]string{ // what they need
	"walkthrough.md":            {"openssl": "openssl", "awscli": "/usr/bin/aws", "jq": "jq"},
	"walkthrough-python.md":     {"openssl": "openssl", "gnutls": "certtool", "awscli": "/usr/bin/aws", "boto3": "/usr/bin/python3"},
	"walkthrough-profiles.md":   {"openssl": "openssl", "awscli": "/usr/bin/aws"},
	"walkthrough-revocation.md": {"openssl": "openssl", "awscli": "/usr/bin/aws", "jq": "jq"},
	"ml-dsa.md":                 nil,
	"sign-blob.md":              {"openssl": "openssl"},
}

func TestWalkThroughs(t *testing.T) {
	for page, needs := range opensslWalks {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			for _, name := range slices.Sorted(maps.Keys(needs)) {
				require(t, name, needs[name])
			}
			r := newReader(t)
			r.sendTo("http://127.0.0.1:1") // every command names its endpoint
			if page == "ml-dsa.md" {
				r.useOpenSSL35()
			}
			r.run(script(t, page, ""))
		})
	}
}

func TestCommandsFromNothing(t *testing.T) {
	for _, w := range wholeWalks {
		t.Run(w.page, func(t *testing.T) {
			t.Parallel()
			for _, name := range slices.Sorted(maps.Keys(w.needs)) {
				require(t, name, w.needs[name])
			}
			r := newReader(t)
			r.sendTo("http://127.0.0.1:1") // every command names its endpoint
			t.Cleanup(func() { r.end("holdfast-tpm/tpm.pid") })
			text := script(t, w.page, w.section)
			if strings.Contains(text, "openssl") {
				t.Error("it uses OpenSSL")
			}
			r.run(proveRenewal(t, text, w.renewal))
		})
	}
}

func TestCommands(t *testing.T) {
	for _, w := range walks {
		t.Run(w.page, func(t *testing.T) {
			t.Parallel()
			signertest.Require(t, "openssl", "openssl")
			for _, name := range slices.Sorted(maps.Keys(w.needs)) {
				require(t, name, w.needs[name])
			}
			r := newReader(t)
			r.sendTo("http://127.0.0.1:1") // nothing is sent yet
			r.run(script(t, "quickstart.md", w.begin))
			r.dir = filepath.Join(r.dir, "holdfast-try")
			url, _, stop, err := clitest.RunEmulator(r.dir, "--trust-anchor", "ca.pem")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(stop)
			r.sendTo(url)
			r.readOnly = w.readOnly
			r.run(script(t, w.page, w.section))
		})
	}
}

var (
	block = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	file  = regexp.MustCompile(`^#!.*\n# (\S+)`)
)

// script returns the sh blocks of a page, or of a section of it.
func script(t *testing.T, page, section string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if section != "" {
		_, after, ok := strings.Cut(text, "\n## "+section+"\n")
		if !ok {
			t.Fatalf("%s has no section %q", page, section)
		}
		text, _, _ = strings.Cut(after, "\n## ")
	}
	var b strings.Builder
	blocks := append(block.FindAllStringSubmatch(text, -1), make([]string, 3))
	for i, m := range blocks[:len(blocks)-1] {
		kind, code := m[1], m[2]
		next := blocks[i+1]
		switch name := file.FindStringSubmatch(code); {
		case kind == "console" || kind == "":
			t.Errorf("%s: no test runs this block:\n%s", page, code)
		case name != nil:
			fmt.Fprintf(&b, "mkdir -p $(dirname %s)\ncat >%[1]s <<'END OF FILE'\n%sEND OF FILE\n", name[1], code)
		case kind != "sh":
		case secondTerminal(code) != "":
			b.WriteString(secondTerminal(code))
		case isError(next[1], next[2]):
			b.WriteString(failing(code, next[2]))
		default:
			b.WriteString(code)
		}
	}
	b.WriteString(endSecondTerminal)
	if b.Len() == len(endSecondTerminal) {
		t.Fatalf("%s, section %q: nothing to run", page, section)
	}
	return b.String()
}

// A reader does what a page says, as an ordinary user.
type reader struct {
	testing.TB
	bin, dir string
	readOnly bool
	replace  []string // texts of a page and what they are here: ports, and URLs of CAs
}

const nobody = 65534

func newReader(t *testing.T) *reader {
	t.Helper()
	base, err := os.MkdirTemp("", "holdfast-pages-") // t.TempDir is not for other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	port := func() string { return strconv.Itoa(clitest.FreePort(t)) }
	r := &reader{TB: t, bin: filepath.Join(base, "bin"), dir: filepath.Join(base, "work"),
		replace: []string{"9910", port(), "9911", port(), "9912", port(), "9913", port()}}
	for _, dir := range []string{base, r.bin, r.dir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(r.dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// sendTo puts holdfast and aws into PATH, which ask an emulator, unless a flag or a
// configuration file says otherwise.
func (r *reader) sendTo(url string) {
	r.Helper()
	program, err := exec.LookPath("holdfast")
	if err != nil {
		r.Fatal(err)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		r.Fatal(err)
	}
	real := filepath.Join(r.bin, "real", "holdfast")
	if err := os.MkdirAll(filepath.Dir(real), 0o755); err != nil {
		r.Fatal(err)
	}
	adding := func(program, flag, commands string) []byte {
		return fmt.Appendf(nil, `#!/bin/sh
case " $* " in *" %[2]s "* | *" --config "*) exec %[1]s "$@" ;; esac
case $1 in %[3]s) command=$1 && shift && exec %[1]s $command %[2]s %[4]s "$@" ;; esac
exec %[1]s "$@"
`, program, flag, commands, url)
	}
	for path, data := range map[string][]byte{
		real:                             data,
		filepath.Join(r.bin, "holdfast"): adding(real, "--endpoint", "credential-process|exec|serve|update"),
		filepath.Join(r.bin, "aws_signing_helper"): []byte("#!/bin/sh\nexit 1\n"),
		filepath.Join(r.bin, "aws"):                adding("/usr/bin/aws", "--endpoint-url", "sts"),
	} {
		if err := clitest.WriteProgram(path, data); err != nil {
			r.Fatal(err)
		}
	}
}

// useOpenSSL35 puts an OpenSSL that knows ML-DSA into PATH, where other users can
// execute it.
func (r *reader) useOpenSSL35() {
	r.Helper()
	openssl := signertest.OpenSSL35(r)
	if system, err := exec.LookPath("openssl"); err == nil && system == openssl {
		return
	}
	folder := filepath.Join(r.bin, "openssl-3.5")
	link := fmt.Sprintf("#!/bin/sh\nexec %s/openssl \"$@\"\n", folder)
	if out, err := exec.Command("cp", "-R", filepath.Dir(openssl), folder).CombinedOutput(); err != nil {
		r.Fatalf("%v: %s", err, out)
	}
	if err := errors.Join(os.Chmod(folder, 0o755), clitest.WriteProgram(filepath.Join(r.bin, "openssl"), []byte(link))); err != nil {
		r.Fatal(err)
	}
}

// run runs a script to its end. What it leaves behind in the background ends
// with it.
func (r *reader) run(script string) {
	r.Helper()
	if strings.Contains(script, "\nTRUST_ANCHOR_ARN=") { // the page sets them
		script = "unset TRUST_ANCHOR_ARN PROFILE_ARN\n" + script
	}
	args := []string{"sh", "-eu", "-c", strings.NewReplacer(r.replace...).Replace(script)}
	home := r.dir
	if os.Geteuid() == 0 {
		args = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"}, args...)
		if r.readOnly {
			args = append([]string{"unshare", "--mount", "--propagation=private", "--", "sh", "-euc",
				`mount --bind . . && mount -o remount,bind,ro / && cd "$PWD" && exec "$@"`, "sh"}, args...)
		}
	}
	if r.readOnly {
		home = "/"
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = r.dir
	cmd.Env = []string{
		"PATH=" + r.bin + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + home, "GORACE=" + clitest.QuickExit,
		"AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"TRUST_ANCHOR_ARN=arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001",
		"PROFILE_ARN=arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001",
		"ROLE_ARN=arn:aws:iam::111122223333:role/demo",
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what is still in the background
	}
	if err != nil {
		r.Fatalf("%v\n%s\nof the script:\n%s", err, out.String(), script)
	}
}
