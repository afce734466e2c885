//go:build unix

package agent

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

func testCipher(t *testing.T, key byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(bytes.Repeat([]byte{key}, keySize))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

func stateAt(path string, now time.Time) *stateFile {
	return &stateFile{
		path: path, key: func() (string, error) { return "this key", nil },
		now: func() time.Time { return now }, log: slog.New(slog.DiscardHandler),
	}
}

func TestState(t *testing.T) {
	now := time.Now()
	for _, seal := range []cipher.AEAD{nil, testCipher(t, 1)} {
		f := stateAt(filepath.Join(t.TempDir(), "session"), now)
		f.seal = seal
		want := testSession(now)
		if err := f.save(want); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(f.path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("s3same")) == (seal != nil) {
			t.Errorf("the file is %q", data)
		}
		if got, err := f.load(); err != nil || got != want {
			t.Errorf("%v, %v", got, err)
		}
		if info, err := os.Stat(f.path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
}

// Files that are not used. Each of them is replaced by the next session.
func TestBadStates(t *testing.T) {
	now := time.Now()
	edit := func(change func(data []byte) []byte) func(*testing.T, *stateFile) {
		return func(t *testing.T, f *stateFile) {
			data, err := os.ReadFile(f.path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(f.path, change(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name   string
		sealed bool
		change func(*testing.T, *stateFile)
		want   error // nil: any
		quiet  bool  // no warning
	}{
		{"missing", false, func(_ *testing.T, f *stateFile) { must(os.Remove(f.path)) }, os.ErrNotExist, true},
		{"world-readable", false, func(_ *testing.T, f *stateFile) { must(os.Chmod(f.path, 0o644)) }, nil, false},
		{"group-writable", false, func(_ *testing.T, f *stateFile) { must(os.Chmod(f.path, 0o620)) }, nil, false},
		{"link", false, func(_ *testing.T, f *stateFile) {
			must(os.Rename(f.path, f.path+".real"))
			must(os.Symlink(f.path+".real", f.path))
		}, nil, false},
		{"empty", false, edit(func([]byte) []byte { return nil }), errDamaged, false},
		{"truncated", false, edit(func(d []byte) []byte { return d[:len(d)/2] }), errDamaged, false},
		{"truncated, sealed", true, edit(func(d []byte) []byte { return d[:len(d)-1] }), errDamaged, false},
		{"only the header", true, edit(func(d []byte) []byte { return d[:bytes.IndexByte(d, '\n')+1] }), errDamaged, false},
		{"a bit", false, edit(func(d []byte) []byte { d[len(d)-20] ^= 1; return d }), errDamaged, false},
		{"a bit, sealed", true, edit(func(d []byte) []byte { d[len(d)-20] ^= 1; return d }), errDamaged, false},
		{"other text", false, edit(func([]byte) []byte { return []byte("hello\n") }), errDamaged, false},
		{"large", false, edit(func(d []byte) []byte { return append(d, make([]byte, maxState)...) }), errDamaged, false},
		{"sealed and then not", true, func(_ *testing.T, f *stateFile) { f.seal = nil }, errDamaged, false},
		{"not sealed and then sealed", false, func(t *testing.T, f *stateFile) { f.seal = testCipher(t, 1) }, errDamaged, false},
		{"other seal", true, func(t *testing.T, f *stateFile) { f.seal = testCipher(t, 2) }, errDamaged, false},
		{"other configuration", false, func(_ *testing.T, f *stateFile) {
			f.key = func() (string, error) { return "another key", nil }
		}, errOther, true},
		{"expired", true, func(_ *testing.T, f *stateFile) { f.now = func() time.Time { return now.Add(13 * time.Hour) } }, errExpired, true},
		{"clock set back", false, func(_ *testing.T, f *stateFile) { f.now = func() time.Time { return now.Add(-time.Hour) } }, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := stateAt(filepath.Join(t.TempDir(), "session"), now)
			var log strings.Builder
			f.log = slog.New(slog.NewTextHandler(&log, nil))
			if test.sealed {
				f.seal = testCipher(t, 1)
			}
			must(f.save(testSession(now)))
			test.change(t, f)
			if c, err := f.load(); err == nil || c != (credentials.Credentials{}) || test.want != nil && !errors.Is(err, test.want) || strings.Contains(err.Error(), "s3same") {
				t.Errorf("%v, %v, want %v", c, err, test.want)
			}
			next := testSession(f.now())
			next.AccessKeyID = "ASIANEXT"
			k := &keptSource{file: f, source: sourceFunc(func(context.Context) (credentials.Credentials, error) { return next, nil })}
			if c, err := k.Credentials(t.Context()); err != nil || c != next {
				t.Errorf("%v, %v", c, err)
			}
			if c, err := f.load(); err != nil || c != next {
				t.Errorf("the file was not replaced: %v, %v", c, err)
			}
			want := 1
			if test.quiet {
				want = 0
			}
			if n := strings.Count(log.String(), "level=WARN"); n != want || strings.Contains(log.String(), "s3same") {
				t.Errorf("%d warnings, want %d:\n%s", n, want, &log)
			}
		})
	}
}

// Only the first request is answered from the file. A session that cannot be saved is
// used nevertheless.
func TestKeptSource(t *testing.T) {
	now := time.Now()
	f := stateAt(filepath.Join(t.TempDir(), "session"), now)
	var log strings.Builder
	f.log = slog.New(slog.NewTextHandler(&log, nil))
	kept, next := testSession(now), testSession(now)
	next.AccessKeyID = "ASIANEXT"
	start := &keptSource{file: f, source: sourceFunc(func(context.Context) (credentials.Credentials, error) { return kept, nil })}
	if c, err := start.Credentials(t.Context()); err != nil || c != kept || !strings.Contains(log.String(), "no session is kept yet") || strings.Contains(log.String(), "no such file") {
		t.Errorf("the first start: %v, %v\n%s", c, err, &log)
	}
	var failure error
	k := &keptSource{file: f, source: sourceFunc(func(context.Context) (credentials.Credentials, error) { return next, failure })}
	if c, err := k.Credentials(t.Context()); err != nil || c != kept {
		t.Errorf("first: %v, %v", c, err)
	}
	failure = errors.New("no network")
	if _, err := k.Credentials(t.Context()); !errors.Is(err, failure) {
		t.Errorf("failed: %v", err)
	}
	if c, err := f.load(); err != nil || c != kept {
		t.Errorf("a failure changed the file: %v, %v", c, err)
	}
	failure, f.path = nil, filepath.Join(f.path, "below", "a file")
	if c, err := k.Credentials(t.Context()); err != nil || c != next {
		t.Errorf("not saved: %v, %v", c, err)
	}
}
