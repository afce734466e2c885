// Package alerttest checks the alert rules of Prometheus for tests of the programs that export
// the metrics.
package alerttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// CheckRules checks a file of alert rules: they use only metrics and labels of exported,
// which is in the text format of Prometheus, and each rule has a test in the file tests.
func CheckRules(t *testing.T, rules, tests, exported string) {
	t.Helper()
	exported = "\n" + exported
	text, tested := readText(t, rules), readText(t, tests)
	_, text, _ = strings.Cut(text, "\ngroups:\n")
	found := strings.Split(text, "\n      - alert: ")[1:]
	if len(found) == 0 {
		t.Fatalf("%s has no rules", rules)
	}
	metric := regexp.MustCompile(`\bholdfast_[a-z0-9_]+`)
	label := regexp.MustCompile(`(?:{{ \$labels\.|[{,] ?)([a-z_]+)(?:=| }})`)
	foreign := []string{"instance", "job"} // Prometheus adds these
	for _, rule := range found {
		alert, text, _ := strings.Cut(rule, "\n")
		for _, name := range metric.FindAllString(text, -1) {
			if !strings.Contains(exported, "\n# TYPE "+name+" ") {
				t.Errorf("%s: there is no metric %s", alert, name)
			}
		}
		for _, found := range label.FindAllStringSubmatch(text, -1) {
			if l := found[1]; !slices.Contains(foreign, l) && !regexp.MustCompile(`[{,]`+l+`="`).MatchString(exported) {
				t.Errorf("%s: there is no label %s", alert, l)
			}
		}
		for _, want := range []string{"        expr: ", "          severity: ", "          summary: ", "          description: "} {
			if strings.Count("\n"+text, "\n"+want) != 1 {
				t.Errorf("%s: not one line with %s", alert, strings.TrimSpace(want))
			}
		}
		if !strings.Contains(tested, alert) {
			t.Errorf("%s has no test in %s", alert, tests)
		}
	}
}

// Promtool lets promtool check a file of alert rules and run its tests, which name the
// file without a folder.
func Promtool(t *testing.T, rules, tests string) {
	t.Helper()
	promtool := signertest.Require(t, "prometheus", "promtool")
	dir := t.TempDir()
	for _, name := range []string{rules, tests} {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), []byte(readText(t, name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", filepath.Base(rules)}, {"test", "rules", filepath.Base(tests)}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", args, err, out)
		}
	}
}

// readText returns the content of a text file with the line endings of Unix.
func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}
