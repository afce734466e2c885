package stepcatest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const thisPackage = "github.com/holdfast-dev/holdfast/pki/renew/stepca/stepcatest"

var build = sync.OnceValues(buildOnce)

// Build returns the path of the program step-ca in the cache folder of the user.
// If it is not there, the test is skipped, unless HOLDFAST_REQUIRE lists step-ca:
// then it is built, which takes several minutes.
func Build(tb testing.TB) string {
	tb.Helper()
	path, err := build()
	if err != nil {
		signertest.Skip(tb, "step-ca", err)
	}
	return path
}

func buildOnce() (string, error) {
	// A test runs in the folder of its own package.
	dir, err := run("", "go", "list", "-f", "{{.Dir}}", thisPackage)
	if err != nil {
		return "", err
	}
	source := filepath.Join(strings.TrimSpace(dir), "testdata", "step-ca")
	h := sha256.New()
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		data, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		h.Write(data)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, "holdfast-test", "step-ca-"+hex.EncodeToString(h.Sum(nil)[:6]))
	path := filepath.Join(folder, "step-ca.exe")
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return path, err
	}
	if !signertest.Required("step-ca") {
		return "", errors.New("it is not built; script/test-deps step-ca builds it")
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	unfinished := fmt.Sprintf("%s.%d", path, os.Getpid())
	if _, err := run(source, "go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", unfinished, "."); err != nil {
		return "", err
	}
	return path, os.Rename(unfinished, path)
}

func run(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, exit.Stderr)
	}
	return string(out), err
}
