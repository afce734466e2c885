package winstore

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore/selector"
)

// The table in docs/references.md lists all attributes.
func TestAttributesInDocs(t *testing.T) {
	text, err := os.ReadFile("../docs/references.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "| winstore attribute |")
	if !ok {
		t.Fatal("docs/references.md has no table of winstore attributes")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var inDocs []string
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, m := range regexp.MustCompile("`([a-z0-9]+)`").FindAllStringSubmatch(cells[1], -1) {
				inDocs = append(inDocs, m[1])
			}
		}
	}
	known := append(slices.Clone(backendAttributes), selector.Attributes()...)
	slices.Sort(known)
	slices.Sort(inDocs)
	if !slices.Equal(inDocs, known) {
		t.Errorf("docs/references.md lists %q, want %q", inDocs, known)
	}
}
