package pages

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Each example is a row of docs/guests.md, with the version that its go.mod requires.
func TestGuests(t *testing.T) {
	text := documents(t)["docs/guests.md"]
	modules, err := filepath.Glob(filepath.Join(root, "examples", "*", "go.mod"))
	if err != nil || len(modules) == 0 {
		t.Fatalf("%d modules, error %v", len(modules), err)
	}
	require := regexp.MustCompile(`(?m)^(?:require|\t) ?(\S+) (v\S+)$`) // not an indirect one
	for _, file := range modules {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range require.FindAllStringSubmatch(string(data), -1) {
			row := regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(m[1]) + "`.*\\| " + regexp.QuoteMeta(m[2]) + ` \|`)
			if !strings.HasSuffix(m[1], "/holdfast") && !row.MatchString(text) {
				t.Errorf("%s requires %s %s, which is no row of docs/guests.md", file, m[1], m[2])
			}
		}
	}
	linked := links(text)
	for _, pattern := range []string{"*/main.go", "*/*/main.go"} {
		programs, err := filepath.Glob(filepath.Join(root, "examples", pattern))
		if err != nil || len(programs) == 0 {
			t.Fatalf("%d programs, error %v", len(programs), err)
		}
		for _, file := range programs {
			rel, err := filepath.Rel(root, file)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(linked, "../"+filepath.ToSlash(rel)) {
				t.Errorf("docs/guests.md has no link to %s", rel)
			}
		}
	}
}
