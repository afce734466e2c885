//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// all says that the tests build every target, as "make release" does, and not only that
// of this machine. script/test-release sets it.
var all = os.Getenv("HOLDFAST_RELEASE") == "all"

// built returns the folder with the files of a release, which script/release has built
// in a clone of the commit that is checked out.
var built = sync.OnceValues(func() (string, error) { return build("..", "a", nil) })

// scratch is the folder of the clones, which TestMain removes.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "holdfast-packaging-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

// build clones a repository into a folder of scratch and builds a release there.
func build(repository, name string, env []string) (string, error) {
	clone := filepath.Join(scratch, name)
	if out, err := exec.Command("git", "clone", "-q", repository, clone).CombinedOutput(); err != nil {
		return "", fmt.Errorf("git clone: %w\n%s", err, out)
	}
	cmd := exec.Command(filepath.Join(clone, "script", "release"))
	if !all {
		cmd.Args = append(cmd.Args, "-targets", "linux/amd64")
	}
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "HOLDFAST_VERSION=") || strings.HasPrefix(v, "SOURCE_DATE_EPOCH=")
	}), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("script/release: %w\n%s", err, out)
	}
	return filepath.Join(clone, "dist"), nil
}

func dist(t *testing.T) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// find returns the only result whose name ends with suffix.
func find(t *testing.T, suffix string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dist(t), "*"+suffix))
	if err != nil || len(found) != 1 {
		t.Fatalf("*%s: %v, %v", suffix, found, err)
	}
	return found[0]
}

// TestReproducible builds the same commit again, in a folder with another name, with other
// settings of the user, and compares every byte.
func TestReproducible(t *testing.T) {
	first := dist(t)
	second, err := build(filepath.Dir(first), strings.Repeat("another-folder", 5), []string{"TZ=Asia/Tokyo", "LANG=C.UTF-8", "GO386=softfloat", "GOARM=5", "GOFLAGS=-buildvcs=false", "USER=nobody"})
	if err != nil {
		t.Fatal(err)
	}
	names := func(dir string) (names []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	if a, b := names(first), names(second); !slices.Equal(a, b) {
		t.Fatalf("the files are\n%q\n%q", a, b)
	}
	for _, name := range names(first) {
		a, err := os.ReadFile(filepath.Join(first, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(second, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s is not the same the second time", name)
		}
		t.Logf("%10d %s", len(a), name)
	}
}

func TestChecksums(t *testing.T) {
	cmd := exec.Command("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	cmd.Dir = dist(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	sums, err := os.ReadFile(filepath.Join(dist(t), "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dist(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "SHA256SUMS" && !strings.Contains(string(sums), "  "+e.Name()+"\n") {
			t.Errorf("SHA256SUMS lacks %s", e.Name())
		}
	}
}

// untar unpacks an archive, which can be compressed with gzip, into a folder.
func untar(t *testing.T, archive io.Reader, dir string) {
	t.Helper()
	data, err := io.ReadAll(archive)
	if err != nil {
		t.Fatal(err)
	}
	archive = bytes.NewReader(data)
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		if archive, err = gzip.NewReader(archive); err != nil {
			t.Fatal(err)
		}
	}
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(name, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(name, h.FileInfo().Mode()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content, h.FileInfo().Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
}

// unpack unpacks the archive of a target and returns its folder.
func unpack(t *testing.T, label string) string {
	t.Helper()
	archive := find(t, "_"+label+".tar.gz")
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	untar(t, f, dir)
	return filepath.Join(dir, strings.TrimSuffix(filepath.Base(archive), ".tar.gz"))
}
