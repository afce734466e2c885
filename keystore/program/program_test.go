//go:build unix

package program_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/internal/exectest"
	"github.com/holdfast-dev/holdfast/keystore/program"
	"github.com/holdfast-dev/holdfast/signer"
)

// eventually waits until ok, and fails the test after a while.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > 30*time.Second {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// A lockedBuffer is safe for concurrent use.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// within returns a context for a call that must fail: it ends soon if the program hangs.
func within(t *testing.T, hang bool) context.Context {
	if !hang {
		return t.Context()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestLies(t *testing.T) {
	for _, row := range lies {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			dir, log := t.TempDir(), new(lockedBuffer)
			cfg := program.Config{
				Path: exectest.InstallAs(t, liarPrefix+strings.ReplaceAll(row.name, " ", "_")), Key: keyFile(t, "p256"),
				Env:    append(quickExit, "PATH="+os.Getenv("PATH"), dirVariable+"="+dir),
				Logger: slog.New(slog.NewTextHandler(log, nil)),
			}
			k, err := program.Open(within(t, row.hang && row.at == atOpen), cfg)
			for _, at := range []string{atSign, atSecond} {
				if err != nil || row.at == atOpen {
					break
				}
				digest := sha256.Sum256([]byte(at))
				var sig []byte
				sig, err = k.SignContext(within(t, row.hang && row.at == at), nil, digest[:], crypto.SHA256)
				switch {
				case err == nil && !ecdsa.VerifyASN1(k.Public().(*ecdsa.PublicKey), digest[:], sig):
					t.Error("a wrong signature was returned")
				case err == nil && at == row.at:
					t.Errorf("no error at %s", at)
				case err != nil && at != row.at:
					t.Errorf("error at %s: %v", at, err)
				}
			}
			if (err == nil) != (row.at == never) || row.is != nil && !errors.Is(err, row.is) {
				t.Errorf("error %v", err)
			}
			if err != nil {
				text := err.Error() + ": " + signer.Hint(err)
				if !strings.Contains(text, row.text) || len(text) > 2000 || strings.ContainsAny(text, "\x1b\n") || strings.Contains(text, "c2VjcmV0") || strings.Contains(text, signer.ErrMismatch.Error()) {
					t.Errorf("lacks %q: %.3000q", row.text, text)
				}
			}
			if k != nil {
				if row.name == "has the certificate of another key" && (len(k.Chain()) != 0 || len(k.Certificates().All()) != 1) {
					t.Errorf("chain %v", k.Chain())
				}
				if err := k.Close(); err != nil {
					t.Error(err)
				}
			}
			checkGone(t, dir)
			if n := strings.Count(log.String(), "\n"); n > 4*51 {
				t.Errorf("%d lines in the log", n)
			}
		})
	}
}

// checkGone waits until no process of a liar is left. It ends those that have left the
// process group.
func checkGone(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if stray, ok := strings.CutPrefix(e.Name(), "stray-"); ok {
			pid, _ := strconv.Atoi(stray)
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		eventually(t, "the process "+e.Name()+" is gone", func() bool {
			return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || isZombieOfOther(pid)
		})
	}
}

// isZombieOfOther reports whether a process has ended, and only its parent, which is not
// this process, has not noticed.
func isZombieOfOther(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	return fields[0] == "Z" && fields[1] != strconv.Itoa(os.Getpid())
}

// Requests do not gather before a program that does not read them.
func TestUnread(t *testing.T) {
	k := open(t, program.Config{Path: exectest.InstallAs(t, liarPrefix+"answers_without_reading"), Key: keyFile(t, "p256"), Env: append(quickExit, dirVariable+"="+t.TempDir())})
	message := make([]byte, 500<<10) // more than fits into a pipe
	for _, want := range []string{"the program answers x", "does not read the requests"} {
		if _, err := k.SignMessage(rand.Reader, message, crypto.SHA256); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("lacks %q: %v", want, err)
		}
	}
}

// A program that ends again and again is not started in a loop.
func TestRest(t *testing.T) {
	dir := t.TempDir()
	k := open(t, program.Config{Path: exectest.InstallAs(t, liarPrefix+"exits_at_sign"), Key: keyFile(t, "p256"), Env: []string{dirVariable + "=" + dir}})
	digest := sha256.Sum256(nil)
	for range 1000 {
		if _, err := k.Sign(rand.Reader, digest[:], crypto.SHA256); !errors.Is(err, signer.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	started, err := os.ReadDir(dir)
	if err != nil || len(started) > 100 {
		t.Errorf("%d processes were started, %v", len(started), err)
	}
	t.Logf("1000 signatures started %d processes", len(started))
}

// Signatures go on when the program is killed between them and while it works.
func TestKilledAgainAndAgain(t *testing.T) {
	dir := t.TempDir()
	k := open(t, program.Config{Path: exectest.InstallAs(t, liarPrefix+"is_honest"), Key: keyFile(t, "p256"), Env: []string{dirVariable + "=" + dir}})
	done := make(chan struct{})
	var killer, all sync.WaitGroup
	killer.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(300 * time.Millisecond): // less often than twice during a signature
			}
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				pid, _ := strconv.Atoi(e.Name())
				_ = os.Remove(filepath.Join(dir, e.Name()))
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	for range 8 {
		all.Go(func() {
			for range 200 {
				digest := sha256.Sum256(random(8))
				sig, err := k.Sign(rand.Reader, digest[:], crypto.SHA256)
				if err == nil && !ecdsa.VerifyASN1(k.Public().(*ecdsa.PublicKey), digest[:], sig) {
					t.Error("a wrong signature was returned")
				}
				if err != nil && !errors.Is(err, signer.ErrUnavailable) { // twice during one signature, on a slow machine
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	close(done)
	killer.Wait()
}

// Close ends a signature that hangs, and one that waits for it.
func TestCloseWhileHanging(t *testing.T) {
	dir, log := t.TempDir(), new(lockedBuffer)
	k := open(t, program.Config{
		Path: exectest.InstallAs(t, liarPrefix+"hangs_at_sign"), Key: keyFile(t, "p256"),
		Env: []string{dirVariable + "=" + dir}, Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	digest := sha256.Sum256(nil)
	var signing sync.WaitGroup
	for range 2 {
		signing.Go(func() {
			if _, err := k.Sign(rand.Reader, digest[:], crypto.SHA256); !errors.Is(err, signer.ErrClosed) {
				t.Error(err)
			}
		})
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	signing.Wait()
	checkGone(t, dir)
}

// The context of one signature ends; that of another one goes on with a new program.
func TestContextEnds(t *testing.T) {
	dir := t.TempDir()
	k := open(t, program.Config{Path: exectest.InstallAs(t, liarPrefix+"hangs_at_sign"), Key: keyFile(t, "p256"), Env: []string{dirVariable + "=" + dir}})
	digest := sha256.Sum256(nil)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(200*time.Millisecond, func() { cancel(why) })
	if _, err := k.SignContext(ctx, nil, digest[:], crypto.SHA256); !errors.Is(err, why) || errors.Is(err, signer.ErrUnavailable) {
		t.Error(err)
	}
	if _, err := k.SignContext(ctx, nil, digest[:], crypto.SHA256); !errors.Is(err, why) {
		t.Error(err)
	}
	if _, err := program.Open(ctx, program.Config{Path: "/bin/cat"}); !errors.Is(err, why) {
		t.Error(err)
	}
}

func TestNotStarted(t *testing.T) {
	dir := t.TempDir()
	for name, file := range map[string]struct {
		text string
		mode fs.FileMode
	}{
		"plain": {"#!/bin/sh\n", 0o644}, "nothing": {"", 0o755}, "text": {"hello\n", 0o755}, "interpreter": {"#!/no/such/python\n", 0o755},
		"open": {"#!/bin/sh\n", 0o757}, "group": {"#!/bin/sh\n", 0o775},
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(file.text), 0o600), os.Chmod(path, file.mode)); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		is         error
		text, hint string
	}{
		"plain":       {fs.ErrPermission, "permission denied", "chmod +x"},
		"nothing":     {syscall.ENOEXEC, "exec format error", "#!/bin/sh"},
		"text":        {syscall.ENOEXEC, "exec format error", "#!/bin/sh"},
		"interpreter": {fs.ErrNotExist, "no such file", "first line of the script"},
		"open":        {fs.ErrPermission, "can be written by other users (mode 0757)", "chmod go-w"},
		"group":       {fs.ErrPermission, "can be written by its group (mode 0775)", "chmod go-w"},
		"none":        {fs.ErrNotExist, "no such file", ""},
		"none -v":     {fs.ErrNotExist, "no such file", "gets no arguments"},
		".":           {fs.ErrPermission, "permission denied", "names a folder"},
	} {
		_, err := program.Open(t.Context(), program.Config{Path: filepath.Join(dir, name)})
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.text) || !strings.Contains(signer.Hint(err), c.hint) {
			t.Errorf("%s: %v: %s", name, err, signer.Hint(err))
		}
	}
}
