package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/commands"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

// libraries are the folders of packages that do not depend on the command line.
var libraries = []string{"signer", "keystore", "pkcs11", "tpm", "winstore", "keychain", "pki", "rolesanywhere", "internal"}

var (
	flagName = regexp.MustCompile(`--([a-z][a-z0-9-]*)`)
	// fieldName is TYPE.FIELD, with the package if several have the type.
	fieldName = regexp.MustCompile(`\b(?:[a-z]+\.)?([A-Z]\w*\.[A-Z]\w*)`)
	// otherCommand is a command of another program, to its end in a hint.
	otherCommand = regexp.MustCompile(`\b(pkcs11-tool|tpm2_[a-z]+|swtpm_setup) [^;,]*`)
)

// Hints of libraries are for all callers, not only the command line. They name
// fields of Go types, which package front replaces with flags.
func TestLibrariesNameFields(t *testing.T) {
	flags := flagNames()
	texts, structFields := readLibraries(t)
	if len(flags) < 40 || len(texts) < 1000 || len(structFields) < 100 {
		t.Fatalf("%d flags, %d texts, %d fields", len(flags), len(texts), len(structFields))
	}
	table := make(map[string]bool) // whether the entry is used
	for _, f := range front.Fields {
		if _, ok := table[f[0]]; ok {
			t.Errorf("%s is in the table twice", f[0])
		}
		table[f[0]] = false
		for _, name := range fieldName.FindAllStringSubmatch(f[0], -1) {
			if !structFields[name[1]] {
				t.Errorf("the field %s in the table does not exist", name[0])
			}
		}
		for _, name := range flagName.FindAllStringSubmatch(f[1], -1) {
			if !flags[name[1]] {
				t.Errorf("there is no flag --%s, which the table has for %s", name[1], f[0])
			}
		}
	}
	for where, text := range texts {
		for _, name := range flagName.FindAllStringSubmatch(otherCommand.ReplaceAllString(text, ""), -1) {
			if flags[name[1]] {
				t.Errorf("%s: %q names the flag --%s; name the field that it sets", where, text, name[1])
			}
		}
		for _, name := range fieldName.FindAllString(text, -1) {
			if _, ok := table[name]; !ok {
				t.Errorf("%s: %q names %s, which is not in the table of front", where, text, name)
			}
		}
		for name := range table {
			table[name] = table[name] || strings.Contains(text, name)
		}
	}
	for name, used := range table {
		if !used {
			t.Errorf("no library uses %s", name)
		}
	}
}

// flagNames returns the names of the flags of all commands.
func flagNames() map[string]bool {
	names := make(map[string]bool)
	var add func(*cobra.Command)
	add = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names[f.Name] = true })
		for _, part := range cmd.Commands() {
			add(part)
		}
	}
	a, _, _ := testApp()
	for _, c := range commands.All {
		add(c.New(a))
	}
	return names
}

// isModule reports whether dir contains a module of its own. It is for Go programs, so
// its messages never reach the users of the command line.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// readLibraries returns the strings in the sources of libraries by position,
// and whether each field TYPE.FIELD of a struct is exported.
func readLibraries(t *testing.T) (texts map[token.Position]string, structFields map[string]bool) {
	t.Helper()
	texts, structFields = make(map[token.Position]string), make(map[string]bool)
	fset := token.NewFileSet()
	visit := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				text, _ := strconv.Unquote(n.Value)
				texts[fset.Position(n.Pos())] = text
			}
		case *ast.TypeSpec:
			s, ok := n.Type.(*ast.StructType)
			for i := 0; ok && i < len(s.Fields.List); i++ {
				for _, name := range s.Fields.List[i].Names {
					structFields[n.Name.Name+"."+name.Name] = n.Name.IsExported() && name.IsExported()
				}
			}
		}
		return true
	}
	for _, dir := range libraries {
		err := filepath.WalkDir(filepath.Join("../../..", dir), func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "testdata" || isModule(path)):
				return filepath.SkipDir
			case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			if err == nil {
				ast.Inspect(file, visit)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return texts, structFields
}
