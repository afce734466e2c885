package doctor_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// mendable are the names of broken configurations whose command mends them without
// a decision.
var mendable = []string{
	"section without profile", "section with profile in credentials", "byte order mark",
	"tilde", "variable", "backslash at the end of a line", "program not in PATH", "program does not exist", "command forgotten",
	"whole line quoted", "comment at the end", "redirection", "redirection to the next word", "semicolon at the end", "exec of the shell",
	"dash in the key", "space in a path",
	"keys in the profile", "Identity Center in the profile",
	"typographic quotation marks", "en dash",
}

// The commands of doctor mend what is broken: after the command of the first fault,
// the fault is gone, until no fault is left.
func TestMended(t *testing.T) {
	aws := signertest.Require(t, "awscli", "/usr/bin/aws")
	sh := signertest.Require(t, "sh", "sh")
	mended := 0
	for _, c := range brokenConfigurations {
		if !slices.Contains(mendable, c.name) {
			continue
		}
		mended++
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			c.prepare(s)
			if c.name == "section without profile" { // with a command that works once it is found
				s.write(".aws/config", "[app]\ncredential_process = "+goodLine+"\n")
			}
			if c.name == "section with profile in credentials" {
				s.write(".aws/credentials", "[profile app]\ncredential_process = "+goodLine+"\n")
			}
			last := line{}
			for range 3 {
				l, found := s.examine(c).first("fault")
				if !found {
					return
				}
				if l == last {
					t.Fatalf("the command did not help: %+v", l)
				}
				last = l
				s.paste(sh, aws, l.Command)
			}
			t.Errorf("still a fault: %+v", last)
		})
	}
	if mended != len(mendable) {
		t.Errorf("%d of %d configurations", mended, len(mendable))
	}
}

// paste runs a command of the report in a shell.
func (s *scene) paste(sh, aws, command string) {
	s.Helper()
	cmd := exec.Command(sh, "-c", command)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":" + filepath.Dir(aws), "HOME=" + s.dir, "GORACE=" + clitest.QuickExit}
	if out, err := cmd.CombinedOutput(); err != nil {
		s.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// The commands below warnings of the configuration lose nothing: after them, the
// AWS configuration has no fault and no warning.
func TestMendedWarnings(t *testing.T) {
	aws := signertest.Require(t, "awscli", "/usr/bin/aws")
	sh := signertest.Require(t, "sh", "sh")
	const region = "\nregion = us-east-1\n"
	for name, prepare := range map[string]func(*scene){
		"several lines":                     profileWith(goodLine + "\n  --session-duration\n\n  900" + region),
		"several lines with an equals sign": profileWith(strings.ReplaceAll(goodLine, " --trust-anchor-arn ", "\n  --trust-anchor-arn=") + region),
		"backslashes":                       profileWith(strings.ReplaceAll(goodLine, " --role", " \\\n  --role") + region),
		"relative path":                     profileWith(strings.ReplaceAll(goodLine, "{dir}/key.pem", "key.pem") + region),
		"relative paths and a relative PIN": steps(write("pin", "x"), profileWith(strings.NewReplacer("{dir}/key.pem", "key.pem", "{dir}/cert.pem", "cert.pem").Replace(goodLine)+" --pin-source file:pin"+region)),
		"no region":                         profileWith(goodLine),
		"keys in the configuration":         config(goodConfig + "aws_access_key_id = A\n  B\naws_secret_access_key = x\n"),
		"helper":                            helperWith(goodFlags),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			prepare(s)
			c := setup{args: app}
			for range 3 {
				l, found := s.examine(c).first("fault", "warning")
				if !found {
					return
				}
				s.paste(sh, aws, l.Command)
			}
			t.Errorf("still not mended: %s", s.examine(c).raw)
		})
	}
}
