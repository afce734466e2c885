//go:build linux

package main

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// openImage unpacks the archive of the image and returns its index.
func openImage(t *testing.T) v1.ImageIndex {
	t.Helper()
	f, err := os.Open(find(t, "_image.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	untar(t, f, dir)
	path, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	outer, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("%v, %v", manifest, err)
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// unpackImage unpacks the image for linux/amd64 and returns its root folder and settings.
func unpackImage(t *testing.T, index v1.ImageIndex) (root string, config v1.Config) {
	t.Helper()
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(manifest.Manifests, func(m v1.Descriptor) bool { return m.Platform.String() == "linux/amd64" })
	if i < 0 {
		t.Fatal("there is no image for linux/amd64")
	}
	image, err := index.Image(manifest.Manifests[i].Digest)
	if err != nil {
		t.Fatal(err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	root = t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, layer := range layers {
		content, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		untar(t, content, root)
		_ = content.Close()
	}
	return root, file.Config
}

// TestImage unpacks the image into a folder and runs "holdfast demo" there, as the user of
// the image. The folder is read-only, except for /tmp.
func TestImage(t *testing.T) {
	needsRoot(t)
	index := openImage(t)
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	platforms := map[string]v1.Hash{}
	for _, m := range manifest.Manifests {
		platforms[m.Platform.String()] = m.Digest
	}
	want := []string{"linux/amd64"}
	if all {
		want = append(want, "linux/arm64")
	}
	for _, platform := range want {
		if _, ok := platforms[platform]; !ok || len(platforms) != len(want) {
			t.Fatalf("the platforms are %v, want %v", platforms, want)
		}
	}
	root, config := unpackImage(t, index)
	if config.User != "65532:65532" {
		t.Errorf("the user is %q", config.User)
	}
	checkRoots(t, root)
	run := func(args ...string) (string, error) {
		script := `mount --bind -o ro "$0" "$0" && mount -t tmpfs -o mode=1777 tmpfs "$0/tmp" && exec env -i "$@"`
		chroot := append(config.Env, "/usr/sbin/chroot", "--userspec="+config.User, root)
		args = append(append(chroot, config.Entrypoint...), args...)
		out, err := exec.Command("unshare", append([]string{"--mount", "sh", "-c", script, root}, args...)...).CombinedOutput()
		return string(out), err
	}
	if out, err := run("version"); err != nil || !strings.HasPrefix(out, "holdfast "+version(t)) {
		t.Errorf("version: %v\n%s", err, out)
	}
	if out, err := run("demo"); err != nil || !strings.Contains(out, "assumed-role/demo/") {
		t.Errorf("demo: %v\n%s", err, out)
	}
	if out, err := run("generate", "--private-key", "/key.pem"); err == nil || !strings.Contains(out, "read-only file system") {
		t.Errorf("the root folder is not read-only: %v\n%s", err, out)
	}
}

// checkRoots checks that the image has CAs of the servers of AWS.
func checkRoots(t *testing.T, root string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		names[certificate.Subject.CommonName] = true
	}
	if len(names) < 50 {
		t.Errorf("there are %d CAs", len(names))
	}
	for _, name := range []string{"Amazon Root CA 1", "Amazon Root CA 3"} {
		if !names[name] {
			t.Errorf("the CA %s is missing", name)
		}
	}
}
