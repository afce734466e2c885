package awssdk_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// snippet matches a block of Go code in a page. The code is the body of a function that
// has the parameters below and returns an error.
var snippet = regexp.MustCompile("(?ms)^```go\n(.*?)^```")

const parameters = "ctx context.Context, key signer.Signer, settings rolesanywhere.Config, open func(context.Context) (signer.Signer, error)"

// imports are the packages that snippets may use.
var imports = []string{
	"context", "fmt", "os",
	"github.com/aws/aws-sdk-go-v2/aws",
	"github.com/aws/aws-sdk-go-v2/config",
	"github.com/aws/aws-sdk-go-v2/service/s3",
	"github.com/aws/aws-sdk-go-v2/service/sts",
	"github.com/holdfast-dev/holdfast/rolesanywhere",
	"github.com/holdfast-dev/holdfast/rolesanywhere/assume",
	"github.com/holdfast-dev/holdfast/rolesanywhere/awssdk",
	"github.com/holdfast-dev/holdfast/signer",
	"github.com/holdfast-dev/holdfast/signer/rotate",
}

// TestPageCompiles compiles the Go code of docs/awssdk.md as it stands there.
func TestPageCompiles(t *testing.T) {
	text, err := os.ReadFile("../../docs/awssdk.md")
	if err != nil {
		t.Fatal(err)
	}
	found := snippet.FindAllStringSubmatch(string(text), -1)
	if len(found) == 0 {
		t.Fatal("docs/awssdk.md has no Go code")
	}
	for _, m := range found {
		compile(t, program(m[1]))
	}
}

// program makes a file of a snippet, with the imports that it uses.
func program(body string) string {
	function := "func _(" + parameters + ") error {\n" + body + "return nil\n}\n"
	var b strings.Builder
	b.WriteString("package snippet\n\nimport (\n")
	for _, path := range imports {
		if regexp.MustCompile(`\b` + filepath.Base(path) + `\.`).MatchString(function) {
			b.WriteString("\t\"" + path + "\"\n")
		}
	}
	return b.String() + ")\n\n" + function
}

// compile compiles source as a package of this module that exists in memory alone.
func compile(t *testing.T, source string) {
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
