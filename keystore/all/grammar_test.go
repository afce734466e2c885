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

// parsers are the folders of the packages that parse references. Other packages
// ask the Store; see keystore.Dependent, AttributeSetter and Rebaser.
var parsers = []string{"keystore", "pkcs11", "tpm", "winstore", "keychain"} // spiffe is below keystore

// TestOnlyBackendsParseReferences checks the source files for all systems and
// build tags.
func TestOnlyBackendsParseReferences(t *testing.T) {
	fset := token.NewFileSet()
	files := 0
	for name, file := range sources(t, fset) {
		first, _, _ := strings.Cut(filepath.ToSlash(name), "/")
		if slices.Contains(parsers, first) {
			continue
		}
		files++
		for _, violation := range refAccesses(fset, file) {
			t.Error(violation)
		}
	}
	if files < 50 {
		t.Errorf("%d files", files)
	}
}

// refAccesses returns the places where a file reads or builds the parts of a
// reference, which only backends may do. It compares names and not types: it
// assumes that a field Rest belongs to a Ref, and in a file that imports
// keystore also a field Scheme.
func refAccesses(fset *token.FileSet, file *ast.File) (violations []string) {
	report := func(n ast.Node, format string, args ...any) {
		violations = append(violations, fmt.Sprintf("%s: %s; call a method of the Store instead, or, if this is a backend, add its folder to parsers", fset.Position(n.Pos()), fmt.Sprintf(format, args...)))
	}
	pkg := importName(file, module+"/keystore")
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if n.Sel.Name == "Rest" || n.Sel.Name == "Scheme" && pkg != "" {
				report(n, "selects %s of a reference", n.Sel.Name)
			}
		case *ast.CompositeLit:
			for _, lit := range refLiterals(n, pkg) {
				report(lit, "builds a reference from its parts")
			}
		case *ast.BinaryExpr:
			if n.Op == token.EQL || n.Op == token.NEQ {
				for _, x := range []ast.Expr{n.X, n.Y} {
					if s := schemeOf(x, pkg); s != "" {
						report(n, "compares with the scheme %s", s)
					}
				}
			}
		case *ast.CaseClause:
			for _, x := range n.List {
				if s := schemeOf(x, pkg); s != "" {
					report(x, "compares with the scheme %s", s)
				}
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && isName(f.X, "strings") {
				for _, x := range n.Args {
					if s, ok := strings.CutSuffix(stringOf(x), ":"); ok && s != keystore.SchemeStdin && slices.Contains(schemes(), s) {
						report(x, "looks for the scheme %s", s)
					}
				}
			}
		}
		return true
	})
	return violations
}

// importName returns the name of an imported package in a file. It returns ""
// if the file does not import the package, or imports it as "_".
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

// refLiterals returns lit if it is a keystore.Ref with fields, and the elements
// of lit that are such a Ref without an explicit type.
func refLiterals(lit *ast.CompositeLit, pkg string) (found []*ast.CompositeLit) {
	if isRef(lit.Type, pkg) && len(lit.Elts) > 0 {
		found = append(found, lit)
	}
	var elementType, keyType ast.Expr
	switch t := lit.Type.(type) {
	case *ast.ArrayType:
		elementType = t.Elt
	case *ast.MapType:
		elementType, keyType = t.Value, t.Key
	}
	for _, e := range lit.Elts {
		var key ast.Expr
		if pair, ok := e.(*ast.KeyValueExpr); ok {
			key, e = pair.Key, pair.Value
		}
		for _, part := range []struct{ value, typ ast.Expr }{{e, elementType}, {key, keyType}} {
			if inner, ok := part.value.(*ast.CompositeLit); ok && inner.Type == nil && len(inner.Elts) > 0 && isRef(part.typ, pkg) {
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

// schemeOf returns the scheme that the expression x denotes, or "". The strings
// "file", "env" and "-" have other meanings, too, so for these schemes only the
// constants of package keystore count.
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

func TestRefAccesses(t *testing.T) {
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
		if got := refAccesses(fset, file); len(got) != test.want {
			t.Errorf("%s: %d violations, want %d: %q", test.body, len(got), test.want, got)
		}
	}
}
