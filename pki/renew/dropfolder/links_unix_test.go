//go:build unix

package dropfolder_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-dev/holdfast/pki/renew/dropfolder"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Links and FIFOs that others place in the folder are neither followed nor awaited.
func TestLinks(t *testing.T) {
	r, key, ca := newRequest(t)
	outside := t.TempDir()
	write(t, outside, "chain.pem", signertest.CertPEM(ca.Issue(t, key.Key, nil)))
	for name, place := range map[string]func(path string) error{
		"a link":        func(path string) error { return os.Symlink(filepath.Join(outside, "chain.pem"), path) },
		"an inner link": func(path string) error { return os.Symlink("inner.pem", path) },
		"a FIFO":        func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "inner.pem", signertest.CertPEM(ca.Issue(t, key.Key, nil)))
			for _, suffix := range []string{".pem", ".rejected", ".p7"} {
				if err := place(filepath.Join(dir, token+suffix)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := (dropfolder.Way{Dir: dir}).Renew(t.Context(), r); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
				t.Error(err)
			}
			f, err := dropfolder.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.Request(token); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
				t.Error(err)
			}
			// An answer takes the place of a link, and does not follow it.
			if err := errors.Join(f.Issue(token, []byte("issued")), f.Reject(token, "rejected")); err != nil {
				t.Error(err)
			}
			for _, file := range []string{filepath.Join(outside, "chain.pem"), filepath.Join(dir, "inner.pem")} {
				if data, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(data), "-----BEGIN") {
					t.Errorf("%s was changed: %v", file, err)
				}
			}
		})
	}
	// A folder can be a link itself; links below it lead nowhere else.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	f, err := dropfolder.Open(link)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Request("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
