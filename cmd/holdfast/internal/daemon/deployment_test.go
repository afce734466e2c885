package daemon_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/renewing"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/vending"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestSystemdUnits verifies the units with systemd-analyze. It replaces the
// path of the program by an existing one.
func TestSystemdUnits(t *testing.T) {
	analyze := signertest.Require(t, "systemd", "systemd-analyze")
	program, err := exec.LookPath("holdfast")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var units []string
	for _, name := range []string{"holdfast.service", "holdfast.socket", "holdfast-renew.service", "holdfast-renew.timer"} {
		text, err := os.ReadFile(filepath.Join("../../../../docs/deployment", name))
		if err != nil {
			t.Fatal(err)
		}
		unit := filepath.Join(dir, name)
		if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/holdfast", program)), 0o600); err != nil {
			t.Fatal(err)
		}
		units = append(units, unit)
	}
	out, err := exec.Command(analyze, append([]string{"verify", "--man=no"}, units...)...).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, dir) || strings.HasPrefix(line, "holdfast") {
			t.Error(strings.TrimSpace(line))
		}
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// The commands have all flags of ExecStart=.
	for unit, cmd := range map[string]*cobra.Command{units[0]: vending.Serve(front.App{}), units[2]: renewing.Renew(front.App{})} {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		_, line, _ := strings.Cut(string(text), "\nExecStart=")
		line, _, _ = strings.Cut(line, "\n")
		if !strings.HasPrefix(line, program+" "+cmd.Name()+" --") {
			t.Errorf("ExecStart=%s", line)
		}
		for _, word := range strings.Fields(line) {
			if flag, ok := strings.CutPrefix(word, "--"); ok && cmd.Flags().Lookup(flag) == nil {
				t.Errorf("%s has no flag %s", cmd.Name(), word)
			}
		}
	}
}
