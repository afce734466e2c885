package all

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
)

// grammarians are the folders that know what stands in references. All others
// ask the Store: see keystore.Dependent, AttributeSetter and Rebaser.
var grammarians = []string{"keystore", "pkcs11", "tpm", "winstore", "keychain"}

// TestReferencesAreTakenApartByBackends looks at the files for every system and
// of every build.
func TestReferencesAreTakenApartByBackends(t *testing.T) {
	fset := token.NewFileSet()
	files := 0
	for name, file := range sources(t, fset) {
		first, _, _ := strings.Cut(filepath.ToSlash(name), "/")
		if slices.Contains(grammarians, first) {
			continue
		}
		files++
		for _, complaint := range takesApart(fset, file) {
			t.Error(complaint)
		}
	}
	if files < 50 {
		t.Errorf("%d files", files)
	}
}

// takesApart tells where a file does with references what only their backends
// may do. It goes by names and not by types: a field Rest, and in a file that
// imports keystore a field Scheme, are taken for those of a Ref.
func takesApart(fset *token.FileSet, file *ast.File) (complaints []string) {
	complain := func(n ast.Node, format string, args ...any) {
		complaints = append(complaints, fmt.Sprintf("%s: %s; let the Store answer", fset.Position(n.Pos()), fmt.Sprintf(format, args...)))
	}
	pkg := importName(file, module+"/keystore")
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if n.Sel.Name == "Rest" || n.Sel.Name == "Scheme" && pkg != "" {
				complain(n, "selects %s of a reference", n.Sel.Name)
			}
		case *ast.CompositeLit:
			for _, lit := range refLiterals(n, pkg) {
				complain(lit, "makes a reference of parts")
			}
		case *ast.BinaryExpr:
			if n.Op == token.EQL || n.Op == token.NEQ {
				for _, x := range []ast.Expr{n.X, n.Y} {
					if s := schemeOf(x, pkg); s != "" {
						complain(n, "compares with the scheme %s", s)
					}
				}
			}
		case *ast.CaseClause:
			for _, x := range n.List {
				if s := schemeOf(x, pkg); s != "" {
					complain(x, "compares with the scheme %s", s)
				}
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && isName(f.X, "strings") {
				for _, x := range n.Args {
					if s, ok := strings.CutSuffix(stringOf(x), ":"); ok && s != keystore.SchemeStdin && slices.Contains(schemes(), s) {
						complain(x, "looks for the scheme %s", s)
					}
				}
			}
		}
		return true
	})
	return complaints
}

// importName returns by which name a file knows a package; "" if it does not
// import it, or for its effects alone.
func importName(file *ast.File, path string) string {
	for _, i := range file.Imports {
		switch {
		case i.Path.Value != strconv.Quote(path):
		case i.Name == nil:
			return path[strings.LastIndexByte(path, '/')+1:]
		case i.Name.Name != "_":
			return i.Name.Name
		}
	}
	return ""
}

// refLiterals returns lit if it is a keystore.Ref with fields, or those of its
// elements that are, if they leave out their type.
func refLiterals(lit *ast.CompositeLit, pkg string) (found []*ast.CompositeLit) {
	if isRef(lit.Type, pkg) && len(lit.Elts) > 0 {
		found = append(found, lit)
	}
	var ofElements, ofKeys ast.Expr
	switch t := lit.Type.(type) {
	case *ast.ArrayType:
		ofElements = t.Elt
	case *ast.MapType:
		ofElements, ofKeys = t.Value, t.Key
	}
	for _, e := range lit.Elts {
		var key ast.Expr
		if pair, ok := e.(*ast.KeyValueExpr); ok {
			key, e = pair.Key, pair.Value
		}
		for _, part := range []struct{ value, of ast.Expr }{{e, ofElements}, {key, ofKeys}} {
			if inner, ok := part.value.(*ast.CompositeLit); ok && inner.Type == nil && len(inner.Elts) > 0 && isRef(part.of, pkg) {
				found = append(found, inner)
			}
		}
	}
	return found
}

func isRef(t ast.Expr, pkg string) bool {
	if pointer, ok := t.(*ast.StarExpr); ok {
		t = pointer.X
	}
	if pkg == "." {
		return isName(t, "Ref")
	}
	s, ok := t.(*ast.SelectorExpr)
	return ok && pkg != "" && isName(s.X, pkg) && s.Sel.Name == "Ref"
}

func isName(x ast.Expr, name string) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == name
}

func stringOf(x ast.Expr) string {
	if lit, ok := x.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		s, _ := strconv.Unquote(lit.Value)
		return s
	}
	return ""
}

// schemeOf returns the scheme that x is, or "". That of files, variables and
// standard input are also words of other languages: their constants count.
func schemeOf(x ast.Expr, pkg string) string {
	if s, ok := x.(*ast.SelectorExpr); ok && pkg != "" && isName(s.X, pkg) && strings.HasPrefix(s.Sel.Name, "Scheme") {
		return s.Sel.Name
	}
	own := []string{keystore.SchemeFile, keystore.SchemeEnv, keystore.SchemeStdin}
	if s := stringOf(x); slices.Contains(schemes(), s) && !slices.Contains(own, s) {
		return s
	}
	return ""
}

func schemes() (all []string) {
	for _, b := range Backends() {
		all = append(all, b.Schemes()...)
	}
	return all
}

func TestTakesApart(t *testing.T) {
	const imports = `import ("strings"; "github.com/holdfast-dev/holdfast/keystore")`
	for _, test := range []struct {
		imports, body string
		want          int
	}{
		{imports, `_ = r.Rest`, 1},
		{"", `_ = id.Key.Rest`, 1},
		{imports, `r.Rest = "x"`, 1},
		{imports, `_ = r.Scheme`, 1},
		{imports, `_ = r.Scheme == keystore.SchemeFile`, 2},
		{imports, `_ = scheme != keystore.SchemeEnv`, 1},
		{imports, `_ = scheme == "tpm"`, 1},
		{imports, `_ = "winstore" != scheme`, 1},
		{imports, `switch scheme { case "handle", "keychain": }`, 2},
		{imports, `switch { case scheme == "pkcs11": }`, 1},
		{imports, `_ = strings.HasPrefix(text, "pkcs11:")`, 1},
		{imports, `_, _ = strings.CutPrefix(text, "file:")`, 1},
		{imports, `_ = keystore.Ref{Scheme: "x"}`, 1},
		{imports, `_ = &keystore.Ref{"x", "y"}`, 1},
		{imports, `_ = []keystore.Ref{{Scheme: "x"}, {}}`, 1},
		{imports, `_ = []*keystore.Ref{{Scheme: "x"}, r}`, 1},
		{imports, `_ = map[keystore.Ref]keystore.Ref{{"a", "b"}: {"c", "d"}}`, 2},
		{imports, `_ = [...]keystore.Ref{1: {"c", "d"}, 2: keystore.Ref{"e", "f"}}`, 2},
		{`import ks "github.com/holdfast-dev/holdfast/keystore"`, `_ = ks.Ref{Scheme: "x"}; _ = r.Scheme`, 2},
		{`import . "github.com/holdfast-dev/holdfast/keystore"`, `_ = Ref{Scheme: "x"}`, 1},

		{imports, `_ = keystore.Ref{}; var r keystore.Ref; _ = r == keystore.Ref{}`, 0},
		{imports, `_ = []keystore.Ref{r, {}}`, 0},
		{imports, `_ = keystore.Identity{Key: r}; _ = []pair{{"a", "b"}}`, 0},
		{imports, `_ = name == "file" || name == "env" || name == "-" || name == "prompt"`, 0},
		{imports, `_ = strings.HasPrefix(text, "file://") || strings.HasPrefix(text, "-:")`, 0},
		{imports, `r, _ := keystore.ParseRef("tpm:" + rest); r = store.Rebase(r, ".")`, 0},
		{`import "net/url"`, `_ = u.Scheme == "https"`, 0},
		{`import _ "github.com/holdfast-dev/holdfast/keystore"`, `_ = u.Scheme == "https"; _ = other.Ref{X: 1}`, 0},
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "x.go", "package x\n"+test.imports+"\nfunc f() {"+test.body+"}", parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%s: %v", test.body, err)
			continue
		}
		if got := takesApart(fset, file); len(got) != test.want {
			t.Errorf("%s: %d complaints, want %d: %q", test.body, len(got), test.want, got)
		}
	}
}
