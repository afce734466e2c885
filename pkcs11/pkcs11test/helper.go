package pkcs11test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// built is the helper of this process, once a test has asked for it.
var built = sync.OnceValues(build)

// Helper returns the path of the program in which modules run with isolation=on, built
// without cgo. A test process builds it once, unless another one has built the same.
func Helper(tb testing.TB) string {
	tb.Helper()
	path, err := built()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// UseHelper makes the modules of this test run in [Helper] if their references have
// isolation=on.
func UseHelper(tb testing.TB) {
	tb.Helper()
	tb.Setenv("HOLDFAST_PKCS11_HELPER", Helper(tb))
}

// helperPackage is the package of the helper's program.
const helperPackage = "github.com/holdfast-dev/holdfast/cmd/holdfast-pkcs11"

// build builds the helper in a folder for this user and this copy of the repository. The
// go command does nothing if the program there is current, and replaces it at once
// otherwise, so that processes need no order.
func build() (string, error) {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	name := filepath.Join(os.TempDir(), fmt.Sprintf("holdfast-helper-%d-%x", os.Getuid(), sha256.Sum256(mod)), "holdfast-pkcs11")
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	cmd := exec.Command("go", "build", "-o", name, helperPackage)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", helperPackage, err, out)
	}
	return name, nil
}
