package vending_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// With the HOME of another user, as under sudo -E, root creates nothing there:
// it works without a cache, and update names the command that works.
func TestRootInAnothersHome(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		signertest.Skip(t, "root", errors.New("only root can use the home of another user"))
	}
	const other = 4242
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	for _, folders := range [][]string{{}, {".cache", ".aws", ".run"}, {".cache/holdfast", ".aws", ".run/holdfast"}} {
		home := filepath.Join(s.Dir, "home")
		if err := os.RemoveAll(home); err != nil {
			t.Fatal(err)
		}
		for _, name := range append([]string{"."}, folders...) {
			if err := os.MkdirAll(filepath.Join(home, name), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		all := func() (names []string) {
			err := filepath.Walk(home, func(path string, _ os.FileInfo, err error) error {
				names = append(names, path)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return names
		}
		before := all()
		for _, name := range before {
			if err := os.Chown(name, other, other); err != nil {
				t.Fatal(err)
			}
		}
		for command, want := range map[string]struct {
			code         int
			stdout, text string
		}{
			"credential-process --cache": {0, `"AccessKeyId"`, "continuing without the cache"},
			"update --once":              {5, "", "hint: run the command as that user: sudo -H -u '#4242' holdfast …; if only root can read the key, set AWS_SHARED_CREDENTIALS_FILE"},
			"cache show":                 {5, "", "hint: run the command as that user: sudo -H -u '#4242' holdfast"},
		} {
			args := strings.Fields(command)
			if args[0] != "cache" {
				args = append(append(args, "--certificate", s.Path("cert.pem"), "--private-key", s.Path("key.pem")), s.Up.Args...)
			}
			cmd, stdout, stderr := execCommand(t, args...)
			cmd.Env = append(cmd.Env, "HOME="+home, "XDG_RUNTIME_DIR="+filepath.Join(home, ".run"))
			r := runCommand(t, cmd, stdout, stderr)
			if r.code != want.code || !strings.Contains(r.stdout, want.stdout) || !strings.Contains(r.stderr, want.text) {
				t.Errorf("%v, %s: code %d, %s", folders, command, r.code, r.stderr)
			}
		}
		if after := all(); strings.Join(after, " ") != strings.Join(before, " ") {
			t.Errorf("%q, want %q", after, before)
		}
	}
	env := []string{"HOME=" + filepath.Join(s.Dir, "home"), "XDG_RUNTIME_DIR=" + filepath.Join(s.Dir, "home", ".run")}
	served := clitest.StartServe(t, s.Dir, env, append([]string{"--certificate", "cert.pem", "--private-key", "key.pem"}, s.Up.Args...)...)
	if strings.HasPrefix(served.Token, filepath.Join(s.Dir, "home")) {
		t.Errorf("the token is in %s", served.Token)
	}
}
