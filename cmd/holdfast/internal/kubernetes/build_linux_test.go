package kubernetes

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

// A program is built from a tool of a module below testdata.
type program struct {
	name, module, tool string
	flags              []string // of the linker
}

func programs() []program {
	const version = "-X k8s.io/component-base/version.gitVersion="
	return []program{
		{"etcd", "kube-apiserver", "go.etcd.io/etcd/server/v3", nil},
		{"kube-apiserver", "kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", []string{version}},
		{"kubectl", "kube-apiserver", "k8s.io/kubernetes/cmd/kubectl", []string{version}},
		{"helm", "helm", "helm.sh/helm/v3/cmd/helm", nil},
	}
}

var built = sync.OnceValues(buildAll)

// build returns the paths of the programs in the cache folder of the user, by their names.
// If one is not there, the test is skipped, unless HOLDFAST_REQUIRE lists kubernetes: then
// it is built, which takes up to half an hour of processor time.
func build(tb testing.TB) map[string]string {
	tb.Helper()
	paths, err := built()
	if err != nil {
		signertest.Skip(tb, "kubernetes", err)
	}
	return paths
}

// TestBuild builds the programs, or fails with the reason.
func TestBuild(t *testing.T) { build(t) }

func buildAll() (map[string]string, error) {
	paths := make(map[string]string)
	for _, p := range programs() {
		path, err := p.build()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		paths[p.name] = path
	}
	return paths, nil
}

// build builds the program, unless it is in the cache: its folder is named by the hash of
// the module.
func (p program) build() (string, error) {
	source := filepath.Join("testdata", p.module)
	h := sha256.New()
	var requirements string
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		requirements += string(data)
		h.Write(data)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, "holdfast-test", p.module+"-"+hex.EncodeToString(h.Sum(nil)[:6]))
	path := filepath.Join(folder, p.name)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return path, err
	}
	if !signertest.Required("kubernetes") {
		return "", errors.New("it is not built; script/test-deps kubernetes builds it")
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	linker := "-s -w"
	for _, flag := range p.flags {
		// Clients and servers of Kubernetes compare their versions.
		_, version, _ := strings.Cut(requirements, "k8s.io/kubernetes ")
		version, _, _ = strings.Cut(version, " ")
		linker += " " + flag + version
	}
	unfinished := fmt.Sprintf("%s.%d", path, os.Getpid())
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags="+linker, "-o", unfinished, p.tool)
	cmd.Dir = source
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return path, os.Rename(unfinished, path)
}
