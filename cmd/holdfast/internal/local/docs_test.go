//go:build linux

package local_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

var block = regexp.MustCompile("(?s)```([a-z]+)\n(.*?)```")

// The examples in docs/emulator.md run unchanged.
func TestEmulatorPage(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/emulator.md")
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	names := map[string]string{"toml": "emulator.toml", "json": "emulator-trust.json"}
	ran := 0
	var scripts []string
	for _, m := range block.FindAllStringSubmatch(string(page), -1) {
		kind, text := m[1], m[2]
		switch {
		case kind == "sh":
			scripts = append(scripts, text)
		case strings.HasPrefix(text, "[faults]"), strings.HasPrefix(text, "[rates]"), strings.HasPrefix(text, "[caller_rates]"), strings.HasPrefix(text, "[private_ca]"):
			// The configuration tests of the emulator cover these.
		case names[kind] != "":
			files[names[kind]] = text
		}
	}
	dir := ""
	for _, script := range scripts {
		if strings.Contains(script, "holdfast ca init") {
			dir = t.TempDir()
			for name, text := range files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		// Only the port is changed: the port of the page may be in use.
		script = strings.ReplaceAll(script, "holdfast emulator", "exec holdfast emulator --listen 127.0.0.1:0")
		ctx, cancel := context.WithCancel(t.Context())
		cmd := exec.CommandContext(ctx, "sh", "-euc", script)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.Dir = dir
		log := new(clitest.LockedBuffer)
		cmd.Stderr = log
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "use with:") || strings.HasPrefix(lines.Text(), "create the first trust anchor:") {
				ran++
				cancel()
			}
		}
		if err := cmd.Wait(); err != nil && ctx.Err() == nil {
			t.Errorf("%s: %v\n%s", script, err, log)
		}
		cancel()
	}
	if ran != 5 {
		t.Errorf("the emulator ran %d times, want 5", ran)
	}
}
