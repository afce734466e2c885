//go:build linux

package daemon_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// A shell can execute the lines that serve prints. If there are several roles,
// their lines are comments.
func TestAnnouncementIsPasted(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	pair := []string{"--certificate", "cert.pem", "--private-key", "key.pem"}
	arn := s.Up.Args[len(s.Up.Args)-1]
	var roles strings.Builder
	for _, name := range []string{"app", "backup"} {
		fmt.Fprintf(&roles, "[[role]]\nname = %q\nrole_arn = %q\n", name, arn)
	}
	s.Write(t, "roles.toml", []byte(roles.String()))
	withoutARN := s.Up.Args[:len(s.Up.Args)-2]
	for _, test := range []struct {
		name string
		args []string
		want string // value of the variable in the shell, without the base URL
	}{
		{"one role", append(pair[:4:4], s.Up.Args...), "/credentials"},
		{"several roles", append(append(pair[:4:4], withoutARN...), "--config", "roles.toml"), "unset"},
		{"one of several", append(append(pair[:4:4], withoutARN...), "--config", "roles.toml", "--role", "app"), "/credentials"},
	} {
		served := clitest.StartServe(t, s.Dir, nil, test.args...)
		clitest.Eventually(t, "all lines are printed", func() bool {
			return strings.Count(served.Out.String(), "AWS_EC2_METADATA_SERVICE_ENDPOINT") == max(1, strings.Count(served.Out.String(), "# role "))
		})
		out, err := exec.Command("sh", "-euc", served.Out.String()+`
			test -n "$AWS_CONTAINER_AUTHORIZATION_TOKEN"
			echo "${AWS_CONTAINER_CREDENTIALS_FULL_URI-unset}"`).CombinedOutput()
		if got := strings.TrimPrefix(strings.TrimSpace(string(out)), served.URL); err != nil || got != test.want {
			t.Errorf("%s: %v, %q, want %q\n%s", test.name, err, got, test.want, served.Out)
		}
		if test.want == "unset" {
			for _, name := range []string{"app", "backup"} {
				if want := fmt.Sprintf("\n# role %s\n# export AWS_CONTAINER_CREDENTIALS_FULL_URI=%s/roles/%[1]s/credentials\n", name, served.URL); !strings.Contains(served.Out.String(), want) {
					t.Errorf("%s: no line for role %s:\n%s", test.name, name, served.Out)
				}
			}
		}
	}
}

// A socket from systemd and a flag for the same address are mutually exclusive.
func TestSocketExcludesFlags(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	for _, test := range []struct{ socket, flag, value string }{
		{"credentials", "--listen", "127.0.0.1:0"},
		{"credentials", "--port", "0"},
		{"status", "--status-listen", "127.0.0.1:0"},
	} {
		_, file := systemdSocket(t)
		cmd := exec.Command("sh", append([]string{"-c", `export LISTEN_PID=$$; exec "$@"`, "sh", "holdfast", "serve", test.flag, test.value,
			"--certificate", "cert.pem", "--private-key", "key.pem"}, s.Up.Args...)...)
		cmd.Dir = s.Dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit, "LISTEN_FDS=1", "LISTEN_FDNAMES=" + test.socket}
		cmd.ExtraFiles = []*os.File{file}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != front.ExitUsage || !strings.Contains(string(out), test.flag) || !strings.Contains(string(out), "systemd") {
			t.Errorf("%s: %v\n%s", test.flag, err, out)
		}
	}
}
