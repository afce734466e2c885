package pages

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

var (
	anyBlock   = regexp.MustCompile("(?ms)^ *```(\\w*)\n(.*?)^ *```$")
	command    = regexp.MustCompile(`\bholdfast(?:\.exe)? ([a-z][a-z-]+)( [^\n|&]*)`)
	subcommand = regexp.MustCompile(`^ ([a-z]+)\b`)
	flagName   = regexp.MustCompile(`(?:^|[\s"])--([a-z][a-z0-9-]*)`)
)

// Commands of all pages have flags that exist, also those that no test runs.
func TestFlags(t *testing.T) {
	helps := map[string]string{}
	check := func(page, name, text string) {
		t.Helper()
		text, _, _ = strings.Cut(text, " -- ") // what follows is another program's
		if sub := subcommand.FindStringSubmatch(text); name == "ca" && sub != nil {
			name += " " + sub[1]
		}
		for _, m := range flagName.FindAllStringSubmatch(text, -1) {
			if helps[name] == "" {
				out, err := exec.Command("holdfast", append(strings.Fields(name), "--help")...).Output()
				if err != nil {
					t.Fatalf("%s: holdfast %s --help: %v", page, name, err)
				}
				helps[name] = string(out)
			}
			if !regexp.MustCompile(`--` + m[1] + `\b`).MatchString(helps[name]) {
				t.Errorf("%s: %s has no --%s", page, name, m[1])
			}
		}
	}
	seen := 0
	for page, text := range documents(t) {
		for _, b := range anyBlock.FindAllStringSubmatch(text, -1) {
			if strings.Contains(b[2], "cobra.Command{") { // the source of a command that does not exist yet
				continue
			}
			for _, m := range command.FindAllStringSubmatch(strings.ReplaceAll(b[2], "\\\n", " "), -1) {
				seen++
				check(page, m[1], m[2])
			}
			switch { // arguments of an image whose entrypoint is holdfast
			case b[1] == "dockerfile":
				_, args, _ := strings.Cut(b[2], "ENTRYPOINT")
				check(page, "exec", args)
			case strings.Contains(b[2], "\n        - serve\n"):
				check(page, "serve", b[2])
			}
		}
	}
	if seen < 30 {
		t.Errorf("%d commands", seen)
	}
}
