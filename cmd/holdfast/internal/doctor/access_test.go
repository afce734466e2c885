//go:build unix

package doctor_test

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The name of a profile is not an argument.
func TestProfileAsArgument(t *testing.T) {
	s := preparedScene(t, setup{prepare: config(goodConfig)})
	out, err := s.command(setup{args: "app"}).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "hint: did you mean holdfast doctor --profile app?") {
		t.Errorf("%v: %s", err, out)
	}
}

// A group that is not that of the user can read or change a file.
func TestForeignGroup(t *testing.T) {
	if os.Getuid() != 0 {
		signertest.Skip(t, "root", errors.New("only root can give a file to any group"))
	}
	const group = 54321
	s := preparedScene(t, setup{prepare: steps(config(goodConfig), open, mode(".aws", 0o755), mode("key.pem", 0o640))})
	for _, name := range []string{"key.pem", ".aws/config"} {
		if err := os.Chown(s.path(name), -1, group); err != nil {
			t.Fatal(err)
		}
	}
	if r := s.checkGood(setup{args: app}); !strings.Contains(r.raw, "the users of group 54321 can read "+s.path("key.pem")) {
		t.Errorf("%s", r.raw)
	}
	mode(".aws/config", 0o664)(s)
	if l, _ := s.examine(setup{args: app}).first("warning"); !strings.Contains(l.Seen, "mode 0664 lets the users of group 54321 change") || l.Command != "chmod g-w "+s.path(".aws/config") {
		t.Errorf("%+v", l)
	}
}

// sed would replace a symbolic link, so the file that it leads to is changed.
func TestLinkedConfiguration(t *testing.T) {
	s := preparedScene(t, setup{prepare: write("dotfiles/config", goodConfig+"sso_role_name = x\n")})
	if err := os.Mkdir(s.path(".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(s.path("dotfiles/config"), s.path(".aws/config")); err != nil {
		t.Fatal(err)
	}
	s.write("dotfiles/config.bak", "")
	l, _ := s.examine(setup{args: app}).first("fault")
	if runtime.GOOS == "linux" && l.Command != "sed -i.bak2 4d "+s.path("dotfiles/config") {
		t.Errorf("%+v", l)
	}
}
