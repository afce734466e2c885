package all

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayShow says which packages have types of another module in their exported
// signatures. A caller of the others depends on this module and the standard
// library alone, whichever releases of other modules it is built with.
var mayShow = map[string][]string{
	"rolesanywhere/awssdk": {"github.com/aws/aws-sdk-go-v2"}, // what it is for
}

// TestExportedTypesAreOurOwn looks at the files for every system.
func TestExportedTypesAreOurOwn(t *testing.T) {
	packages := make(map[string][]*ast.File)
	fset := token.NewFileSet()
	for name, file := range sources(t, fset) {
		dir := filepath.ToSlash(filepath.Dir(name))
		if !slices.Contains(strings.Split(dir, "/"), "internal") && file.Name.Name != "main" {
			packages[dir] = append(packages[dir], file)
		}
	}
	if len(packages) < 20 {
		t.Errorf("%d packages", len(packages))
	}
	for dir, files := range packages {
		for _, complaint := range showsForeign(fset, files, mayShow[dir]) {
			t.Error(complaint)
		}
	}
}

// sources returns the files of this module without tests, by their paths from
// its root.
func sources(t *testing.T, fset *token.FileSet) map[string]*ast.File {
	t.Helper()
	const root = "../.."
	files := make(map[string]*ast.File)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		switch {
		case d.IsDir() && (name == "testdata" || name == "tools" || strings.HasPrefix(name, ".") && path != root):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		files[rel] = file
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// showsForeign tells where the files of a package export something of a type of
// another module.
func showsForeign(fset *token.FileSet, files []*ast.File, allowed []string) (complaints []string) {
	types := make(map[string]bool) // whose fields and methods can be had
	for range 2 {                  // those that are embedded by embedded ones, too
		eachType(files, func(_ *ast.File, spec *ast.TypeSpec) {
			if s, ok := spec.Type.(*ast.StructType); ok && (spec.Name.IsExported() || types[spec.Name.Name]) {
				for _, f := range s.Fields.List {
					if len(f.Names) == 0 {
						types[baseName(f.Type)] = true
					}
				}
			}
			types[spec.Name.Name] = types[spec.Name.Name] || spec.Name.IsExported()
		})
	}
	check := func(file *ast.File, nodes ...ast.Node) {
		for _, n := range nodes {
			exported(n, func(s *ast.SelectorExpr) {
				from := importOf(file, s)
				ours := from == module || strings.HasPrefix(from, module+"/")
				first, _, _ := strings.Cut(from, "/")
				if from == "" || ours || !strings.Contains(first, ".") || slices.ContainsFunc(allowed, func(a string) bool { return strings.HasPrefix(from+"/", a+"/") }) {
					return
				}
				complaints = append(complaints, fmt.Sprintf("%s: shows %s of %s", fset.Position(s.Pos()), s.Sel.Name, from))
			})
		}
	}
	eachType(files, func(file *ast.File, spec *ast.TypeSpec) {
		if types[spec.Name.Name] {
			check(file, spec)
		}
	})
	for _, file := range files {
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && (d.Recv == nil || types[baseName(d.Recv.List[0].Type)]) {
					check(file, d.Type)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok && slices.ContainsFunc(v.Names, (*ast.Ident).IsExported) {
						check(file, v)
					}
				}
			}
		}
	}
	return complaints
}

func eachType(files []*ast.File, f func(*ast.File, *ast.TypeSpec)) {
	for _, file := range files {
		for _, d := range file.Decls {
			if g, ok := d.(*ast.GenDecl); ok {
				for _, spec := range g.Specs {
					if s, ok := spec.(*ast.TypeSpec); ok {
						f(file, s)
					}
				}
			}
		}
	}
}

// exported calls f for each name of another package within n, except in fields
// that are not exported.
func exported(n ast.Node, f func(*ast.SelectorExpr)) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.StructType:
			for _, field := range n.Fields.List {
				if len(field.Names) == 0 || slices.ContainsFunc(field.Names, (*ast.Ident).IsExported) {
					exported(field.Type, f)
				}
			}
			return false
		case *ast.SelectorExpr:
			f(n)
		}
		return true
	})
}

// baseName returns the name of a type of the same package, or "".
func baseName(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.StarExpr:
		return baseName(x.X)
	case *ast.IndexExpr:
		return baseName(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}

// importOf returns the path of the package that s names something of, or "". It
// guesses the names of packages by their paths: github.com/x/go-y/v2 is y.
func importOf(file *ast.File, s *ast.SelectorExpr) string {
	for _, i := range file.Imports {
		from, _ := strconv.Unquote(i.Path.Value)
		dir, name := path.Split(from)
		if v, ok := strings.CutPrefix(name, "v"); ok && strings.Trim(v, "0123456789") == "" {
			name = path.Base(dir)
		}
		name = strings.TrimPrefix(name, "go-")
		if i.Name != nil {
			name = i.Name.Name
		}
		if isName(s.X, name) {
			return from
		}
	}
	return ""
}

func TestShowsForeign(t *testing.T) {
	const imports = `import ("crypto"; "math/rand/v2"; "example.com/go-other/v3"; named "example.com/x"; "github.com/holdfast-dev/holdfast/signer")`
	for _, test := range []struct {
		body string
		want int
	}{
		{`type A = other.T`, 1},
		{`type A other.T`, 1},
		{`type A struct { F []*other.T; G map[named.K]int }`, 2},
		{`type A struct { other.T }`, 1},
		{`type A struct { *b }; type b struct { c }; type c struct { F other.T }`, 1},
		{`type A interface { M(other.T) (named.T, error) }`, 2},
		{`type A struct{}; func (a *A) M() other.T { panic(0) }`, 1},
		{`type A struct { b }; type b struct{}; func (b) M(named.T) {}`, 1},
		{`type A[T other.I] struct{}; func (A[T]) M(f func(named.T)) {}`, 2},
		{`func F(func() (chan other.T)) {}`, 1},
		{`func F[T other.I]() {}`, 1},
		{`var a, B other.T`, 1},
		{`var B = other.F()`, 1},
		{`const C = named.C`, 1},

		{`type A struct { f other.T; G signer.Signer; H crypto.Hash; I *rand.Rand }`, 0},
		{`type a struct { F other.T }; func (a) M(other.T) {}`, 0},
		{`type A struct { f a }; type a struct { F other.T }`, 0},
		{`func f(other.T) {}; var v other.T; const c = other.C`, 0},
		{`func F() { var _ other.T }`, 0},
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "x.go", "package x\n"+imports+"\n"+test.body, parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%s: %v", test.body, err)
			continue
		}
		if got := showsForeign(fset, []*ast.File{file}, nil); len(got) != test.want {
			t.Errorf("%s: %d complaints, want %d: %q", test.body, len(got), test.want, got)
		}
		if got := showsForeign(fset, []*ast.File{file}, []string{"example.com/go-other", "example.com/x"}); len(got) != 0 {
			t.Errorf("%s, allowed: %q", test.body, got)
		}
	}
}
