package pkcs11test

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

//go:embed testdata/fault.c
var faultSource []byte

// FaultModule builds a module in dir with the C compiler cc. It passes calls on to the
// module in the variable FAULT_MODULE, and fails by the rules in the file FAULT_RULES; see
// testdata/fault.c.
func FaultModule(tb testing.TB, cc, dir string) string {
	tb.Helper()
	source, name := filepath.Join(dir, "fault.c"), filepath.Join(dir, "fault.so")
	if err := os.WriteFile(source, faultSource, 0o600); err != nil {
		tb.Fatal(err)
	}
	out, err := exec.Command(cc, "-std=gnu11", "-O2", "-Wall", "-shared", "-fPIC", "-o", name, source, "-ldl", "-lpthread").CombinedOutput()
	if err != nil {
		tb.Fatalf("cc: %v\n%s", err, out)
	}
	return name
}
