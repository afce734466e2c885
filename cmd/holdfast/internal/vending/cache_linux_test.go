package vending_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// With the keyring, no credentials are written to a file.
func TestKeyringLeavesNoFile(t *testing.T) {
	if len(clitest.Caches(t)) < 2 {
		signertest.Skip(t, "keyring", errors.New("the kernel keyring is not available"))
	}
	s := newCacheScene(t, 0)
	first, stderr := s.run(t, nil, "--cache=keyring")
	if stderr != "" {
		t.Errorf("standard error: %s", stderr)
	}
	if err := os.Remove(s.dir + "/key.pem"); err != nil {
		t.Fatal(err)
	}
	if second, _ := s.run(t, nil, "--cache=keyring"); second != first {
		t.Error("the second process prints other credentials")
	}
	files, err := os.ReadDir(s.folder())
	if err != nil || len(files) != 1 || !strings.HasSuffix(files[0].Name(), ".lock") {
		t.Errorf("files %v, %v", files, err)
	}
	if info, err := files[0].Info(); err != nil || info.Size() != 0 {
		t.Errorf("the lock file has %d bytes, %v", info.Size(), err)
	}
}

// If the keyring is not available, for example in a container, there is no
// cache, and nothing is written to a file instead.
func TestWithoutKeyring(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENOSYS, unix.EPERM, unix.EACCES} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			s := newCacheScene(t, 0)
			within := []string{"nokeyring", strconv.Itoa(int(errno))}
			for i := range 2 {
				_, stderr := s.run(t, within, "--cache=keyring")
				if !strings.HasPrefix(stderr, "holdfast: warning: continuing without the cache") || strings.Count(stderr, "\n") != 1 {
					t.Errorf("standard error: %s", stderr)
				}
				if n := s.sessions.Load(); n != int64(i+1) {
					t.Errorf("%d sessions", n)
				}
			}
			if _, err := os.Stat(s.folder()); err == nil {
				t.Error("the cache folder exists")
			}
			s.run(t, within, "--cache") // this cache needs no keyring
		})
	}
}

// If another process never releases the lock, the first process waits for a
// limited time. Later processes do not wait.
func TestChaosCacheLock(t *testing.T) {
	if os.Getenv("HOLDFAST_CHAOS") == "" {
		t.Skip("takes 20 s; make chaos runs it")
	}
	s := newCacheScene(t, 0)
	holder := s.hold(t, "--cache")
	if err := holder.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	out, stderr := s.run(t, nil, "--cache")
	if took := time.Since(begin); took > 30*time.Second || !strings.Contains(stderr, "warning: another process holds the cache") {
		t.Errorf("took %v, standard error: %s", took, stderr)
	}
	begin = time.Now()
	again, stderr := s.run(t, nil, "--cache")
	if took := time.Since(begin); took > 5*time.Second || again != out || stderr != "" {
		t.Errorf("took %v, same credentials: %t, standard error: %s", took, again == out, stderr)
	}
}

func (s *cacheScene) folder() string { return filepath.Join(s.dir, "cache", "holdfast") }
