//go:build cgo

package vending_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// helpers returns the helper processes that a process has started.
func helpers(pid int) (found []string) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // none after its end
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for child := range strings.FieldsSeq(string(text)) {
			if name, _ := os.ReadFile("/proc/" + child + "/comm"); strings.TrimSpace(string(name)) == "holdfast-pkcs11" {
				found = append(found, child)
			}
		}
	}
	return found
}

// serve and exec run a module in one helper process if there is a helper, unless a flag
// says otherwise. It ends with them.
func TestIsolatedByDefault(t *testing.T) {
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	id := clitest.TokenIdentities(t, ca)[0]
	helper := pkcs11test.Helper(t)
	up := clitest.NewUpstream(t, ca.Root(), time.Hour)
	for _, test := range []struct {
		helper string
		flags  []string
		want   int
	}{
		{helper, nil, 1},
		{helper, []string{"--pkcs11-isolation", "on"}, 1},
		{helper, []string{"--pkcs11-isolation", "off"}, 0},
		{"", nil, 0},
		{"/bin/true", nil, 0}, // no helper: a warning, and the module in this process
	} {
		t.Run(fmt.Sprint(filepath.Base(test.helper), test.flags), func(t *testing.T) {
			env := append(slices.Clone(id.Env), "HOLDFAST_PKCS11_HELPER="+test.helper)
			args := slices.Concat(id.Flags, up.Args, test.flags)
			withStatus := append(slices.Clone(args), "--status-listen", "127.0.0.1:0")
			s := clitest.StartServe(t, t.TempDir(), env, withStatus...)
			clitest.WaitReady(t, s)
			if n := clitest.Metric(t, s, "holdfast_pkcs11_helpers_ended_total"); n != "0" {
				t.Errorf("%s helpers have ended", n)
			}
			running := helpers(s.Process.Pid)
			if len(running) != test.want {
				t.Errorf("serve has the helpers %q, want %d", running, test.want)
			}
			if warned := strings.Contains(s.Log.String(), "the helper for PKCS #11 modules cannot be used"); warned != (test.helper == "/bin/true") {
				t.Errorf("a warning: %t\n%s", warned, s.Log)
			}
			if err := errors.Join(s.Process.Signal(syscall.SIGTERM), s.End()); err != nil {
				t.Error(err)
			}
			for _, pid := range running {
				clitest.Eventually(t, "the end of the helper", func() bool {
					_, err := os.Stat("/proc/" + pid)
					return err != nil
				})
			}

			const script = `for p in $(cat /proc/$PPID/task/*/children); do cat /proc/$p/comm; done`
			cmd := exec.Command("holdfast", slices.Concat([]string{"exec"}, args, []string{"--", "sh", "-c", script})...)
			cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit, "HOME=" + id.Dir}, env...)
			out, err := cmd.Output()
			if n := strings.Count(string(out), "holdfast-pkcs11\n"); err != nil || n != test.want {
				t.Errorf("exec has %d helpers, want %d: %v", n, test.want, err)
			}
		})
	}
}
