package lookup

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	table := Table[string, int]{{"one", 1}, {"two", 2}}
	if v, found := table.Find("two"); v != 2 || !found {
		t.Errorf("two is %d, %t", v, found)
	}
	if v, found := table.Find("three"); v != 0 || found || table.Has("three") || table.Get("three") != 0 {
		t.Errorf("three is %d, %t", v, found)
	}
	if !table.Has("one") || table.Get("one") != 1 || !slices.Equal(table.Keys(), []string{"one", "two"}) {
		t.Errorf("one is %d, the keys are %q", table.Get("one"), table.Keys())
	}
}

// The compiler refuses a map with two equal keys, and this test a table.
func TestKeysAreUnique(t *testing.T) {
	tables := 0
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			table, ok := n.(*ast.CompositeLit)
			if !ok || table.Type == nil || !strings.HasPrefix(types.ExprString(table.Type), "lookup.Table[") {
				return true
			}
			tables++
			seen := make(map[string]bool)
			for _, entry := range table.Elts {
				key := types.ExprString(entry.(*ast.CompositeLit).Elts[0])
				if seen[key] {
					t.Errorf("%s: the key %s is there twice", path, key)
				}
				seen[key] = true
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if tables == 0 {
		t.Error("there are no tables")
	}
}
