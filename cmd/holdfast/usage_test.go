package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

func TestHelp(t *testing.T) {
	var out, errs bytes.Buffer
	a := app{stdout: &out, stderr: &errs, now: time.Now, lookupEnv: func(string) (string, bool) { return "", false }}
	var started bool
	var commands []*cobra.Command
	for _, c := range a.root(&started).Commands() {
		if c.Name() != "completion" { // its text is cobra's
			commands = append(append(commands, c), c.Commands()...)
		}
	}
	for _, c := range commands {
		out.Reset()
		if code := run(t.Context(), a, append(strings.Fields(c.CommandPath())[1:], "--help")); code != 0 || errs.Len() > 0 {
			t.Errorf("%s --help: exit code %d, %q", c.Name(), code, errs.String())
		}
		if c.Name() != "help" && !strings.Contains(out.String(), "Examples:") {
			t.Errorf("%s --help has no example", c.Name())
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > columns {
				t.Errorf("%s --help: %d columns: %s", c.Name(), n, line)
			}
		}
	}
}
