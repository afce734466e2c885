package all

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// budgetTable is the table of stability.md with the third-party modules of each
// package.
const budgetTable = "Dependencies in docs/stability.md"

// TestDependencyBudget: a program that imports a package links the third-party modules
// that stability.md lists for it, and no other.
func TestDependencyBudget(t *testing.T) {
	budget := readBudget(t)
	linked := make(map[string][]string) // on any system
	for _, goos := range []string{"linux", "darwin", "windows"} {
		for _, dir := range append([]string{"."}, modules...) {
			for name, found := range linkedModules(t, goos, dir) {
				linked[name] = append(linked[name], found...)
			}
		}
	}
	for _, violation := range checkBudget(budget, linked) {
		t.Error(violation)
	}
}

func checkBudget(budget, linked map[string][]string) (violations []string) {
	for _, name := range slices.Sorted(maps.Keys(linked)) {
		allowed, known := budget[name]
		if !known {
			violations = append(violations, name+" is not in the table "+budgetTable)
			continue
		}
		found := slices.Compact(slices.Sorted(slices.Values(linked[name])))
		for _, m := range found {
			if !slices.Contains(allowed, m) {
				violations = append(violations, name+" links "+m+", which the table "+budgetTable+" does not allow")
			}
		}
		for _, m := range allowed {
			if !slices.Contains(found, m) {
				violations = append(violations, name+" does not link "+m+", which the table "+budgetTable+" lists")
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(budget)) {
		if _, exists := linked[name]; !exists {
			violations = append(violations, name+" is in the table "+budgetTable+", but is no public package")
		}
	}
	return violations
}

var inCode = regexp.MustCompile("`([^`]+)`")

// readBudget returns the modules of each package in the table. A package appears once.
func readBudget(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "stability.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Dependencies\n")
	section, _, _ = strings.Cut(section, "\n## ")
	budget := make(map[string][]string)
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		var found []string
		for _, m := range inCode.FindAllStringSubmatch(cells[3], -1) {
			found = append(found, m[1])
		}
		packages := inCode.FindAllStringSubmatch(cells[1], -1)
		if count := strings.TrimSpace(cells[2]); len(packages) > 0 && count != strconv.Itoa(len(found)) {
			t.Errorf("the table %s counts %s modules of %s, and lists %d", budgetTable, count, packages[0][1], len(found))
		}
		for _, p := range packages {
			if _, twice := budget[p[1]]; twice {
				t.Errorf("%s is in the table %s twice", p[1], budgetTable)
			}
			budget[p[1]] = found
		}
	}
	if len(budget) < 20 {
		t.Fatalf("the table %s has %d packages", budgetTable, len(budget))
	}
	return budget
}

// linkedModules returns the third-party modules of each public package of a module, with
// the packages that only tests import left out.
func linkedModules(t *testing.T, goos, dir string) map[string][]string {
	t.Helper()
	cmd := exec.Command(signertest.Require(t, "go", "go"), "list", "-e", "-deps", "-json=ImportPath,Name,Deps,Module", "./...")
	cmd.Dir = filepath.Join("../..", dir)
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=1") // package pkcs11 needs cgo
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	type goPackage struct {
		ImportPath, Name string
		Deps             []string
		Module           *struct {
			Path string
			Main bool
		}
	}
	moduleOf := make(map[string]string)
	var public []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Module == nil {
			continue
		}
		if p.Module.Path != module && !strings.HasPrefix(p.Module.Path, module+"/") {
			moduleOf[p.ImportPath] = p.Module.Path
		}
		if p.Module.Main && isPublic(p.ImportPath, p.Name) {
			public = append(public, p)
		}
	}
	linked := make(map[string][]string)
	for _, p := range public {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		linked[name] = nil
		for _, dep := range p.Deps {
			if m := moduleOf[dep]; m != "" {
				linked[name] = append(linked[name], m)
			}
		}
	}
	return linked
}

// isPublic reports whether other programs can import the package, and it has names to
// import.
func isPublic(path, name string) bool {
	return path != module && name != "main" && name != "interop" && !strings.Contains(path+"/", "/internal/")
}

func TestCheckBudget(t *testing.T) {
	budget := map[string][]string{"a": nil, "b": {"example.com/x"}}
	for _, test := range []struct {
		linked map[string][]string
		want   string
	}{
		{map[string][]string{"a": nil, "b": {"example.com/x", "example.com/x"}}, ""},
		{map[string][]string{"a": {"example.com/new"}, "b": {"example.com/x"}}, "a links example.com/new, which the table " + budgetTable + " does not allow"},
		{map[string][]string{"a": nil, "b": nil}, "b does not link example.com/x, which the table " + budgetTable + " lists"},
		{map[string][]string{"a": nil, "b": {"example.com/x"}, "c": nil}, "c is not in the table " + budgetTable},
		{map[string][]string{"a": nil}, "b is in the table " + budgetTable + ", but is no public package"},
	} {
		if got := strings.Join(checkBudget(budget, test.linked), "; "); got != test.want {
			t.Errorf("%v: %q, want %q", test.linked, got, test.want)
		}
	}
}
