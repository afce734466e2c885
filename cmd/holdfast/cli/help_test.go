package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// testApp is the program with its commands and without backends.
func testApp() (a front.App, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	return front.App{
		Stdout: stdout, Stderr: stderr, Now: time.Now, Commands: commands,
		LookupEnv: func(string) (string, bool) { return "", false },
	}, stdout, stderr
}

func TestHelp(t *testing.T) {
	lines := [][]string{{"help"}}
	for _, c := range commands {
		lines = append(lines, []string{c.Name})
		a, _, _ := testApp()
		for _, sub := range c.New(a).Commands() {
			lines = append(lines, []string{c.Name, sub.Name()})
		}
	}
	if len(lines) < 14 {
		t.Fatalf("%d commands", len(lines))
	}
	for _, line := range lines {
		name := strings.Join(line, " ")
		a, stdout, stderr := testApp()
		if code := a.Run(t.Context(), append(line, "--help")); code != 0 || stderr.Len() > 0 {
			t.Errorf("%s --help: exit code %d, %q", name, code, stderr)
		}
		if name != "help" && !strings.Contains(stdout.String(), "Examples:") {
			t.Errorf("%s --help has no example", name)
		}
		for line := range strings.Lines(stdout.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("%s --help: %d columns: %s", name, n, line)
			}
		}
		// Of one command alone the help is the same as in the whole tree.
		whole, other, _ := testApp()
		if code := whole.Run(t.Context(), append([]string{"help"}, line...)); code != 0 || other.String() != stdout.String() {
			t.Errorf("help %s: exit code %d, another text:\n%s\n%s", name, code, other, stdout)
		}
	}
}

// Only what was asked for is built, unless the whole tree is wanted.
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
		for _, c := range commands {
			build := c.New
			c.New = func(a front.App) *cobra.Command { built[c.Name]++; return build(a) }
			a.Commands = append(a.Commands, c)
		}
		a.Run(t.Context(), test.args)
		want := 1
		if test.all {
			want = len(commands)
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
