//go:build linux

package main

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
)

// TestSBOM compares the bill of materials, and the licenses in the archive, with what the
// toolchain recorded in the programs.
func TestSBOM(t *testing.T) {
	f, err := os.Open(find(t, "_sbom.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(f, cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if bom.SerialNumber != "" {
		t.Errorf("serial number %s", bom.SerialNumber)
	}
	if got := bom.Metadata.Component.Version; got != version(t) {
		t.Errorf("version %s, want %s", got, version(t))
	}
	dir := unpack(t, "linux_amd64")
	licenses, err := os.ReadFile(filepath.Join(dir, "THIRD-PARTY-LICENSES"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range targets[0].programs() {
		info, err := buildinfo.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range info.Deps {
			if !slices.ContainsFunc(*bom.Components, func(c cyclonedx.Component) bool {
				return c.Name == m.Path && c.Version == m.Version && c.PackageURL == "pkg:golang/"+m.Path+"@"+m.Version
			}) {
				t.Errorf("%s %s of %s is not in the bill of materials", m.Path, m.Version, name)
			}
			if !bytes.Contains(licenses, []byte("\n"+m.Path+" "+m.Version+": ")) {
				t.Errorf("the license of %s is missing", m.Path)
			}
		}
		if std := strings.TrimPrefix(info.GoVersion, "go"); !slices.ContainsFunc(*bom.Components, func(c cyclonedx.Component) bool {
			return c.PackageURL == "pkg:golang/std@"+std
		}) {
			t.Errorf("the standard library %s of %s is not in the bill of materials", std, name)
		}
	}
}
