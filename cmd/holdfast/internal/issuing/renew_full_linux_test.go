package issuing_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/dropfolder"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A smallDisk is a folder on a disk of its own.
type smallDisk struct {
	*testing.T
	dir string
}

func newSmallDisk(t *testing.T) smallDisk {
	t.Helper()
	d := smallDisk{t, t.TempDir()}
	if err := unix.Mount("tmpfs", d.dir, "tmpfs", 0, "size=512k"); err != nil {
		signertest.Skip(t, "tmpfs", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.dir, 0); err != nil {
			t.Error(err)
		}
	})
	return d
}

// fill fills the disk, but for some bytes, and returns what frees it.
func (d smallDisk) fill(free int64) func() {
	d.Helper()
	ballast := filepath.Join(d.dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		d.Fatal(err)
	}
	info, err := os.Stat(ballast)
	if err == nil {
		err = os.Truncate(ballast, info.Size()-free)
	}
	if err != nil {
		d.Fatal(err)
	}
	return func() {
		if err := os.Remove(ballast); err != nil {
			d.Fatal(err)
		}
	}
}

// If the disk of the CA or that of the requests is full, ca issue --renew-folder says
// so, refuses nothing, and answers when there is space. No request gets two
// certificates.
func TestRenewFolderOnAFullDisk(t *testing.T) {
	dir := newCA(t)
	mustRun(t, dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=app", "--out", "cert.pem")
	disk := newSmallDisk(t)
	// Each disk has the folder of the CA or that of the requests.
	requests, ca := filepath.Join(dir, "requests"), filepath.Join(dir, "ca")
	for _, path := range []string{requests, filepath.Join(disk.dir, "requests")} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(disk.dir, "ca"), os.DirFS(ca)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ requests, ca string }{
		"requests": {filepath.Join(disk.dir, "requests"), ca},
		"CA":       {requests, filepath.Join(disk.dir, "ca")},
	} {
		t.Run(name, func(t *testing.T) {
			disk := smallDisk{t, disk.dir}
			way := dropfolder.Way{Dir: c.requests}
			answer := []string{"ca", "issue", "--dir", c.ca, "--private-key", "ca-key.pem", "--renew-folder", c.requests}
			const tries = 3
			full := 0
			for n := range tries {
				r := signedRequest(t, dir, "cert.pem", "app.pem")
				r.Token = name + "-" + string(rune('0'+n))
				if _, err := way.Renew(t.Context(), r); !errors.As(err, new(*renew.WaitError)) {
					t.Fatal(err)
				}
				free := disk.fill(int64(n) * 4096)
				out, _, err := runIn(t, dir, 0, answer...)
				if err != nil {
					full++
					t.Logf("%d bytes free: %v\n%s", n*4096, err, out)
					if !strings.Contains(err.Error(), "no space left on device") || !strings.Contains(err.Error(), "\nhint: ") {
						t.Error(err)
					}
				} else if n == 0 {
					t.Error("no error")
				}
				free()
				if _, err := os.Stat(filepath.Join(c.requests, r.Token+".rejected")); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the request is refused: %v", err)
				}
				if out, _, err := runIn(t, dir, 0, answer...); err != nil {
					t.Fatalf("with space: %v: %s", err, out)
				}
				if certs, err := way.Renew(t.Context(), r); err != nil || len(certs) == 0 {
					t.Fatalf("with space: %v", err)
				}
			}
			settle(t, dir, c.ca)
			var list []struct{ State, Renews string }
			if err := json.Unmarshal([]byte(mustRun(t, dir, "ca", "list", "--dir", c.ca, "--json")), &list); err != nil {
				t.Fatal(err)
			}
			valid := 0
			for _, c := range list {
				if c.State == "valid" && c.Renews != "" {
					valid++
				}
			}
			if valid != tries {
				t.Errorf("%d certificates for %d requests", valid, tries)
			}
			t.Logf("%d of %d runs found a full disk", full, tries)
		})
	}
}
