package kubernetes

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	root       = "../../../.."
	chart      = root + "/packaging/chart/holdfast-agent"
	deployment = root + "/docs/deployment/kubernetes"
)

var update = flag.Bool("update", false, "write the manifests that the chart renders")

// helm runs Helm and returns its output, or fails the test.
func helm(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), build(t)["helm"], args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "KUBECONFIG=/nonexistent")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, &stdout, &stderr)
	}
	return stdout.String()
}

// render renders the chart with the example of its settings and more arguments.
func render(t *testing.T, args ...string) string {
	t.Helper()
	return helm(t, append([]string{"template", "holdfast-agent", chart, "--namespace=holdfast-system",
		"--values=" + deployment + "/values.yaml"}, args...)...)
}

// TestManifests: the manifests are what the chart renders.
func TestManifests(t *testing.T) {
	for name, args := range map[string][]string{
		"agent.yaml":  nil,
		"inject.yaml": {"--set=policies.inject=true", "--show-only=templates/inject.yaml"},
		"warn.yaml":   {"--set=policies.warn=true", "--show-only=templates/warn.yaml"},
	} {
		// Helm names the template of each object in a comment.
		var lines []string
		for line := range strings.Lines(render(t, args...)) {
			if !strings.HasPrefix(line, "# Source: ") {
				lines = append(lines, line)
			}
		}
		want := "# Made by \"helm template\" from the chart packaging/chart/holdfast-agent; docs/kubernetes.md explains it.\n" + strings.Join(lines, "")
		file := filepath.Join(deployment, name)
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s is not what the chart renders (error %v); run: go test ./cmd/holdfast/internal/kubernetes -run TestManifests -update", file, err)
		}
	}
}

func TestLint(t *testing.T) {
	t.Log(helm(t, "lint", "--strict", "--values="+deployment+"/values.yaml", chart))
}
