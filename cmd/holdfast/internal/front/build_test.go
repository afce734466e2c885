package front

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestReadBuild(t *testing.T) {
	if b := ReadBuild(); b.Version == "" || b.Go == "" || b.OS == "" || b.Arch == "" {
		t.Errorf("got %+v", b)
	}
	defer func(before string) { version = before }(version)
	version = "v1.2.3"
	if got := ReadBuild().Version; got != "v1.2.3" {
		t.Errorf("got %q", got)
	}
}

// The linker silently ignores -X for a variable that does not exist.
func TestVersionIsSet(t *testing.T) {
	flag := "-X=" + reflect.TypeFor[Build]().PkgPath() + ".version="
	for _, name := range []string{"Makefile", "script/build-all"} {
		text, err := os.ReadFile(filepath.Join("../../../..", name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), flag) {
			t.Errorf("%s has no %s", name, flag)
		}
	}
}
