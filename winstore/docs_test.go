package winstore

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore/selector"
)

// The table of docs/references.md has the attributes that there are.
func TestAttributesInDocs(t *testing.T) {
	text, err := os.ReadFile("../docs/references.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "| winstore attribute |")
	if !ok {
		t.Fatal("no table")
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
	known := append(slices.Clone(ownAttributes), selector.Attributes()...)
	slices.Sort(known)
	slices.Sort(inDocs)
	if !slices.Equal(inDocs, known) {
		t.Errorf("docs have %q, the code %q", inDocs, known)
	}
}
