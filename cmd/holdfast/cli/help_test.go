package cli

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/commands"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// testApp returns the program with its commands and without backends.
func testApp() (a front.App, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	return front.App{
		Stdout: stdout, Stderr: stderr, Now: time.Now, Commands: commands.All,
		LookupEnv: func(string) (string, bool) { return "", false },
	}, stdout, stderr
}

// TestHelp compares the help of every command with testdata/help. To update
// these files: go test ./cmd/holdfast/cli -run TestHelp -update
func TestHelp(t *testing.T) {
	lines := commandLines(t)
	if len(lines) < 20 {
		t.Fatalf("%d commands", len(lines))
	}
	wanted := make(map[string]bool)
	for _, line := range lines {
		name := strings.Join(append([]string{"holdfast"}, line...), " ")
		a, stdout, stderr := testApp()
		if code := a.Run(t.Context(), append(line, "--help")); code != 0 || stderr.Len() > 0 {
			t.Errorf("%s --help: exit code %d, %q", name, code, stderr)
		}
		if !strings.Contains(stdout.String(), "Examples:") {
			t.Errorf("%s --help has no example", name)
		}
		for line := range strings.Lines(stdout.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("%s --help: %d columns: %s", name, n, line)
			}
		}
		// The help is the same whether one command or the whole tree is built.
		whole, other, _ := testApp()
		if code := whole.Run(t.Context(), append([]string{"help"}, line...)); code != 0 || other.String() != stdout.String() {
			t.Errorf("help %s: exit code %d, different text:\n%s\n%s", name, code, other, stdout)
		}
		file := strings.ReplaceAll(name, " ", "-") + ".txt"
		wanted[file] = true
		compareGolden(t, filepath.Join("testdata", "help", file), stdout.Bytes())
	}
	files, err := os.ReadDir(filepath.Join("testdata", "help"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !wanted[f.Name()] {
			t.Errorf("testdata/help/%s belongs to no command", f.Name())
		}
	}
}

var update = flag.Bool("update", false, "write the golden files")

func compareGolden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got) {
		t.Errorf("%s differs (-update rewrites it):\n%s", path, got)
	}
}

// tree returns the root command with all commands.
func tree(t *testing.T) *cobra.Command {
	t.Helper()
	a, _, _ := testApp()
	return a.Tree()
}

// commandLines returns the path of every command. The path of the root is
// empty.
func commandLines(t *testing.T) (lines [][]string) {
	var walk func(*cobra.Command, []string)
	walk = func(cmd *cobra.Command, names []string) {
		lines = append(lines, names)
		for _, c := range cmd.Commands() {
			walk(c, append(names[:len(names):len(names)], c.Name()))
		}
	}
	walk(tree(t), nil)
	return lines
}

// Each example is a valid shell script with existing flags. Programs other than
// holdfast are not run.
func TestExamples(t *testing.T) {
	shell := signertest.Require(t, "bash", "bash")
	dir := t.TempDir()
	// These scripts replace the programs. The script for holdfast records its
	// arguments, each terminated by NUL.
	for _, name := range []string{"holdfast", "aws", "openssl", "terraform"} {
		script := "#!/bin/sh\n[ " + name + " != holdfast ] || printf '%s\\0' \"$@\" '' >>\"$CALLS\"\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	calls := filepath.Join(dir, "calls")
	for _, line := range commandLines(t) {
		name := strings.Join(line, " ")
		if name == "completion zsh" || name == "completion fish" || name == "completion powershell" {
			continue // for another shell
		}
		cmd, _, err := tree(t).Find(line)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(calls); err != nil {
			t.Fatal(err)
		}
		run := exec.Command(shell, "-euc", cmd.Example)
		run.Dir = dir
		run.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir, "CALLS=" + calls, "TOKEN_FILE=/dev/null",
			"TRUST_ANCHOR_ARN=a", "PROFILE_ARN=p", "ROLE_ARN=r"}
		if out, err := run.CombinedOutput(); err != nil {
			t.Errorf("the example of %q: %v\n%s", name, err, out)
		}
		recorded, err := os.ReadFile(calls)
		if err != nil {
			t.Errorf("the example of %q does not run holdfast: %v", name, err)
		}
		for call := range strings.SplitSeq(strings.TrimSuffix(string(recorded), "\x00\x00"), "\x00\x00") {
			args := strings.Split(call, "\x00")
			a, _, stderr := testApp()
			// --help before the other flags parses them but runs nothing.
			if code := a.Run(t.Context(), append([]string{args[0], "--help"}, args[1:]...)); code != 0 {
				t.Errorf("the example of %q: holdfast %q: %s", name, args, stderr)
			}
		}
	}
}

// docs/configuration.md contains every flag and every environment variable.
func TestConfigurationPage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range commandLines(t) {
		cmd, _, err := tree(t).Find(line)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && f.Name != "no-descriptions" && !regexp.MustCompile("`--"+f.Name+"[`=]").Match(page) {
				t.Errorf("docs/configuration.md does not have --%s of %q", f.Name, line)
			}
			for _, name := range regexp.MustCompile(`[A-Z]+(_[A-Z0-9]+)+`).FindAllString(f.Usage, -1) {
				if !strings.Contains(string(page), name) {
					t.Errorf("docs/configuration.md does not have %s of --%s", name, f.Name)
				}
			}
		})
	}
}

// Only the requested command is built, unless the whole tree is needed.
func TestCommandsAreBuiltLazily(t *testing.T) {
	for _, test := range []struct {
		args []string
		all  bool
	}{
		{[]string{"version"}, false},
		{[]string{"cache", "show", "--help"}, false},
		{nil, true},
		{[]string{"--help"}, true},
		{[]string{"help", "version"}, true},
		{[]string{"completion", "bash"}, true},
		{[]string{"__complete", "ver"}, true},
		{[]string{"versoin"}, true},
	} {
		a, _, _ := testApp()
		a.Commands = nil
		built := make(map[string]int)
		for _, c := range commands.All {
			build := c.New
			c.New = func(a front.App) *cobra.Command { built[c.Name]++; return build(a) }
			a.Commands = append(a.Commands, c)
		}
		a.Run(t.Context(), test.args)
		want := 1
		if test.all {
			want = len(commands.All)
		}
		if len(built) != want {
			t.Errorf("%q builds %v, want %d commands", test.args, built, want)
		}
		for name, n := range built {
			if n != 1 {
				t.Errorf("%q builds %s %d times", test.args, name, n)
			}
		}
	}
}
