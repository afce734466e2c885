package daemon_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/agent"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/renewing"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/vending"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// deployment is the folder of the files for machines.
const deployment = "../../../../docs/deployment"

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
	for _, name := range []string{"holdfast.service", "holdfast.socket", "holdfast-renew.service", "holdfast-renew.timer", "holdfast@app.service", "holdfast-agent.service"} {
		text, err := os.ReadFile(filepath.Join(deployment, strings.Replace(name, "@app.", "@.", 1)))
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
	for unit, cmd := range map[string]*cobra.Command{units[0]: vending.Serve(front.App{}), units[2]: renewing.Renew(front.App{}), units[4]: vending.Serve(front.App{}), units[5]: agent.Agent(front.App{})} {
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

// TestInstancesAreRestricted compares the units holdfast.service and holdfast@.service, which
// differ only in the user, the folders and the configuration.
func TestInstancesAreRestricted(t *testing.T) {
	settings := func(name string) map[string]bool {
		text, err := os.ReadFile(filepath.Join(deployment, name))
		if err != nil {
			t.Fatal(err)
		}
		_, section, _ := strings.Cut(string(text), "\n[Service]\n")
		lines := map[string]bool{}
		for line := range strings.Lines(section) {
			if key, _, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") && !differs[key] {
				lines[line] = true
			}
		}
		return lines
	}
	one, many := settings("holdfast.service"), settings("holdfast@.service")
	if len(one) < 30 || !maps.Equal(one, many) {
		t.Errorf("holdfast.service has %q\nholdfast@.service has %q", slices.Sorted(maps.Keys(one)), slices.Sorted(maps.Keys(many)))
	}
}

var differs = map[string]bool{
	"User": true, "DynamicUser": true, "ExecStart": true, "EnvironmentFile": true, "RuntimeDirectory": true, "StateDirectory": true,
}

// TestExampleOfRoles checks that the example in the packages contains no setting, and that
// once its lines are no comments, only the ID of the trust anchor is missing.
func TestExampleOfRoles(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(deployment, "roles.toml"))
	if err != nil {
		t.Fatal(err)
	}
	var example strings.Builder
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			t.Errorf("%q is no comment", line)
		}
		if setting, ok := strings.CutPrefix(line, "#"); ok && !strings.HasPrefix(setting, " ") {
			example.WriteString(setting + "\n")
		}
	}
	file := filepath.Join(t.TempDir(), "roles.toml")
	if err := os.WriteFile(file, []byte(example.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("holdfast", "serve", "--config", file).CombinedOutput()
	if err == nil || !strings.Contains(string(out), `ends in "ID", which does not identify a trust-anchor`) {
		t.Errorf("%v\n%s\n%s", err, out, &example)
	}
}
