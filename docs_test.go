package holdfast_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// snippet matches a block of Go code in a page. The code is the body of a
// function that has the parameter ctx and returns an error.
var snippet = regexp.MustCompile("(?ms)^```go\n(.*?)^```")

// imports are the packages that snippets may use.
var imports = []string{
	"context", "fmt", "os", "crypto/tls",
	"github.com/holdfast-dev/holdfast/keystore",
	"github.com/holdfast-dev/holdfast/keystore/all",
	"github.com/holdfast-dev/holdfast/rolesanywhere",
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials",
	"github.com/holdfast-dev/holdfast/signer",
	"github.com/holdfast-dev/holdfast/signer/rotate",
}

// TestREADMECompiles type-checks the Go code of README.md as it stands there.
func TestREADMECompiles(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := snippet.FindAllStringSubmatch(string(text), -1)
	if len(found) == 0 {
		t.Fatal("README.md has no Go code")
	}
	for _, m := range found {
		vet(t, program(m[1]))
	}
}

// program makes a file of a snippet, with the imports that it uses.
func program(body string) string {
	var b strings.Builder
	b.WriteString("package snippet\n\nimport (\n\t\"context\"\n")
	for _, path := range imports {
		if path != "context" && strings.Contains(body, path[strings.LastIndexByte(path, '/')+1:]+".") {
			b.WriteString("\t\"" + path + "\"\n")
		}
	}
	b.WriteString(")\n\nfunc _(ctx context.Context) error {\n" + body + "return nil\n}\n")
	return b.String()
}

// vet compiles source as a package of this module that exists in memory alone.
func vet(t *testing.T, source string) {
	t.Helper()
	dir := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	file, overlay := filepath.Join(dir, "snippet.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, "snippet", "snippet.go"): file}})
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{file: []byte(source), overlay: replace} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("go", "build", "-overlay", overlay, "./snippet").CombinedOutput(); err != nil {
		t.Errorf("%s\n%s\n%s", err, out, source)
	}
}
