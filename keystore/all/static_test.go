package all

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestStaticProgram: without cgo, the program is a static binary on Linux. A single import
// of purego would make it need a dynamic linker; only the helper holdfast-pkcs11 does.
func TestStaticProgram(t *testing.T) {
	goTool := signertest.Require(t, "go", "go")
	run := func(arch string, args ...string) string {
		t.Helper()
		cmd := exec.Command(goTool, args...)
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go %q: %v", args, err)
		}
		return string(out)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		for program, static := range map[string]bool{"holdfast": true, "holdfast-pkcs11": false} {
			if links := strings.Contains(run(arch, "list", "-deps", "./cmd/"+program), "ebitengine/purego"); links == static {
				t.Errorf("%s, %s: links purego: %t", program, arch, links)
			}
			if arch != "amd64" { // it would take a minute, and finds nothing more
				continue
			}
			binary := filepath.Join(t.TempDir(), program)
			run(arch, "build", "-buildvcs=false", "-o", binary, "./cmd/"+program)
			if needs := interpreter(t, binary); needs == static {
				t.Errorf("%s, %s: needs a dynamic linker: %t", program, arch, needs)
			}
		}
	}
}

// interpreter reports whether a program needs a dynamic linker.
func interpreter(t *testing.T, name string) bool {
	t.Helper()
	f, err := elf.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return true
		}
	}
	return false
}
