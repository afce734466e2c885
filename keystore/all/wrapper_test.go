package all

import (
	"go/ast"
	"go/token"
	"path/filepath"
	"testing"
)

// A struct that embeds a Signer hides the optional methods of the Signer in it,
// which callers find with a type assertion. So it must have them all;
// SignatureSchemes is in a second type, because not every Signer is limited. A struct
// that embeds a crypto.Signer and passes Sign on must pass messages on, too.
func TestWrappersKeepOptionalMethods(t *testing.T) {
	fset := token.NewFileSet()
	optional := []string{"Certificates", "NeedsPerson", "PSSSaltLengths", "SignContext", "SignMessage", "SignMessageContext"}
	wrappers := make(map[string]token.Pos)      // folder and type
	plain := make(map[string]token.Pos)         // those that embed a crypto.Signer
	limited := make(map[string]bool)            // folders with a type that embeds a SchemeLimiter or has one
	methods := make(map[string]map[string]bool) // of folder and type
	for name, file := range sources(t, fset) {
		dir := filepath.ToSlash(filepath.Dir(name))
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				s, ok := n.Type.(*ast.StructType)
				if !ok {
					return true
				}
				for _, f := range s.Fields.List {
					limited[dir] = limited[dir] || typeName(f.Type) == "SchemeLimiter"
					if len(f.Names) > 0 || typeName(f.Type) != "Signer" {
						continue
					}
					if isCrypto(f.Type) {
						plain[dir+"."+n.Name.Name] = n.Pos()
					} else {
						wrappers[dir+"."+n.Name.Name] = n.Pos()
					}
				}
			case *ast.FuncDecl:
				if n.Recv == nil {
					return true
				}
				key := dir + "." + typeName(n.Recv.List[0].Type)
				if methods[key] == nil {
					methods[key] = make(map[string]bool)
				}
				methods[key][n.Name.Name] = true
			}
			return true
		})
	}
	for name, pos := range wrappers {
		for _, m := range optional {
			if !methods[name][m] {
				t.Errorf("%s: %s embeds a Signer, but has no method %s", fset.Position(pos), name, m)
			}
		}
		if dir := name[:len(name)-len(filepath.Ext(name))]; !limited[dir] {
			t.Errorf("%s: %s embeds a Signer, but no type beside it has the SignatureSchemes of a SchemeLimiter", fset.Position(pos), name)
		}
	}
	for name, pos := range plain {
		if methods[name]["Sign"] && !methods[name]["SignMessage"] {
			t.Errorf("%s: %s passes Sign on, but not SignMessage", fset.Position(pos), name)
		}
	}
	if _, ok := plain["pki/renew/internal/caclient.recorder"]; !ok {
		t.Errorf("the recorder was not found among %d structs that embed a crypto.Signer", len(plain))
	}
	for _, known := range []string{"signer.bound", "signer/rotate.lease", "cmd/holdfast/internal/front.watchedSigner"} {
		if _, ok := wrappers[known]; !ok {
			t.Errorf("%s was not found among %d wrappers", known, len(wrappers))
		}
	}
}

// typeName returns the last part of the name of a type.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func isCrypto(e ast.Expr) bool {
	s, ok := e.(*ast.SelectorExpr)
	return ok && typeName(s.X) == "crypto"
}
