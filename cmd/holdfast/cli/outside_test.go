package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestMain(m *testing.M) { clitest.Main(m) }

// A program in another module can link the command line with its own backend.
func TestOutsideModule(t *testing.T) {
	goTool := signertest.Require(t, "go", "go")
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/outside")); err != nil {
		t.Fatal(err)
	}
	// The program has the same dependencies and checksums as this module, so
	// nothing is downloaded.
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod": fmt.Sprintf("module example.com/outside\n\ngo 1.26.0\n\nrequire github.com/holdfast-dev/holdfast v0.0.0\n\nreplace github.com/holdfast-dev/holdfast => %s\n", root),
		"go.sum": string(sums),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "outside")
	build := exec.Command(goTool, "build", "-mod=mod", "-o", program, ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}

	clitest.WriteFiles(t, dir, "p256")
	url, flags, stop, err := clitest.RunEmulator(dir, "--trust-anchor", "intermediate.pem")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	run := func(args ...string) (stdout, stderr string, err error) {
		cmd := exec.Command(program, args...)
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		return string(out), errs.String(), err
	}
	args := slices.Concat([]string{"credential-process", "--certificate", "shelf:" + dir}, strings.Fields(flags))
	out, stderr, err := run(args...)
	var doc struct {
		Version     int
		AccessKeyID string `json:"AccessKeyId"`
	}
	if err != nil || json.Unmarshal([]byte(out), &doc) != nil || doc.Version != 1 || doc.AccessKeyID == "" {
		t.Errorf("%s: %v\n%s", url, err, stderr)
	}
	// Errors of the backend have hints, too.
	args[2] += "/none"
	if _, stderr, err = run(args...); err == nil || !strings.HasPrefix(stderr, "holdfast: shelf: open shelf:") || strings.Count(stderr, "\n") != 2 {
		t.Errorf("%v\n%s", err, stderr)
	}
}
