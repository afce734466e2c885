package sharedfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantFile checks the content of the file, and that its folder contains no
// files except this one, its lock file and others.
func wantFile(t *testing.T, path, content string, others ...string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	} else if string(data) != content {
		t.Errorf("file is\n%q\nwant\n%q", data, content)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	known := " " + strings.Join(append(others, filepath.Base(path), filepath.Base(path)+".holdfast.lock"), " ") + " "
	for _, e := range entries {
		if !strings.Contains(known, " "+e.Name()+" ") {
			t.Errorf("the folder contains %s", e.Name())
		}
	}
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	if info, err := os.Stat(path); err != nil {
		t.Error(err)
	} else if isPOSIX && info.Mode().Perm() != want {
		t.Errorf("mode of %s is %v, want %v", path, info.Mode().Perm(), want)
	}
}

func TestWriteNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "home", ".aws", "credentials")
	if err := (File{Path: path, Profile: "p"}).Write(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "[p]\n"+block)
	wantMode(t, path, 0o600)
	wantMode(t, path+".holdfast.lock", 0o600)
	wantMode(t, filepath.Dir(path), 0o700)
	wantMode(t, filepath.Dir(filepath.Dir(path)), 0o700)
}

func TestWriteRefusesEmptyCredentials(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	err := (File{Path: path, Profile: "p"}).Write(t.Context(), credentials.Credentials{})
	if !errors.Is(err, credentials.ErrIncomplete) {
		t.Errorf("error %v, want ErrIncomplete", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("file: %v", err)
	}
}

func TestWriteKeepsMode(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o640, 0o644, 0o400, 0o660, 0o666} {
		path := filepath.Join(t.TempDir(), "credentials")
		writeFile(t, path, "[p]\n"+old)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		err := (File{Path: path, Profile: "p", Logger: slog.New(slog.NewTextHandler(&log, nil))}).Write(t.Context(), fresh)
		if err != nil {
			t.Errorf("%v: %v", mode, err)
		}
		wantFile(t, path, "[p]\n"+block)
		wantMode(t, path, mode)
		if warned := strings.Contains(log.String(), "level=WARN"); warned != (mode&0o006 != 0) && isPOSIX {
			t.Errorf("%v: warned: %t\n%s", mode, warned, &log)
		}
	}
}

func TestWriteLogs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	writeFile(t, path, "[a]\n[p]\n[a]\n")
	var log bytes.Buffer
	err := (File{Path: path, Profile: "p", Logger: slog.New(slog.NewTextHandler(&log, nil))}).Write(t.Context(), fresh)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{path, "profile=p", "lines_added=3", "ASIANEW", "level=WARN", "line 3 repeats line 1"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, &log)
		}
	}
	for _, secret := range []string{fresh.SecretAccessKey, fresh.SessionToken} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("a secret is in the log:\n%s", &log)
		}
	}
}

func TestWriteFollowsLinks(t *testing.T) {
	for _, test := range []struct {
		name, link, target string
		exists             bool
	}{
		{"in the folder", "real", "real", true},
		{"elsewhere", "../b/real", "b/real", true},
		{"through a folder that is a link", "folder/../real", "b/real", true},
		{"to a missing file", "../b/new", "b/new", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			for _, dir := range []string{"a", "b/c"} {
				if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join(root, "a", "credentials")
			target := filepath.Join(root, test.target)
			if !strings.Contains(test.target, "/") {
				target = filepath.Join(root, "a", test.target)
			}
			links := map[string]string{
				path: test.link, filepath.Join(root, "a", "folder"): "../b/c", // the parent of its target is b
				filepath.Join(root, "first"): "a/credentials",
			}
			for name, to := range links {
				if err := os.Symlink(to, name); err != nil {
					t.Fatal(err)
				}
			}
			if test.exists {
				writeFile(t, target, "[a]\n")
			}
			if err := (File{Path: filepath.Join(root, "first"), Profile: "p"}).Write(t.Context(), fresh); err != nil {
				t.Fatal(err)
			}
			want := "[p]\n" + block
			if test.exists {
				want = "[a]\n\n" + want
			}
			wantFile(t, target, want, "credentials", "folder", "c")
			for name, to := range links {
				if got, err := os.Readlink(name); err != nil || got != to {
					t.Errorf("%s points to %q, %v", name, got, err)
				}
			}
		})
	}
}

func TestWriteRefusesPaths(t *testing.T) {
	for _, test := range []struct {
		name  string
		setup func(t *testing.T, path string)
		want  error
	}{
		{"link to itself", func(t *testing.T, path string) {
			if err := os.Symlink("credentials", path); err != nil {
				t.Fatal(err)
			}
		}, errLoop},
		{"links in a loop", func(t *testing.T, path string) {
			if err := errors.Join(os.Symlink("other", path), os.Symlink(path, filepath.Join(filepath.Dir(path), "other"))); err != nil {
				t.Fatal(err)
			}
		}, errLoop},
		{"link into a missing folder", func(t *testing.T, path string) {
			if err := os.Symlink("nowhere/credentials", path); err != nil {
				t.Fatal(err)
			}
		}, fs.ErrNotExist},
		{"folder", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, ErrFormat},
		{"too large", func(t *testing.T, path string) {
			writeFile(t, path, "[p]\naws_session_token = "+strings.Repeat("x", MaxSize)+"\n[lost]\n")
		}, ErrFormat},
		{"too large with the profile", func(t *testing.T, path string) {
			writeFile(t, path, strings.Repeat("#"+strings.Repeat("x", 126)+"\n", MaxSize/128))
		}, ErrFormat},
		{"too many lines", func(t *testing.T, path string) { writeFile(t, path, strings.Repeat("\n", maxLines+1)) }, ErrFormat},
		{"sparse", func(t *testing.T, path string) {
			writeFile(t, path, "")
			if err := os.Truncate(path, 1<<40); err != nil {
				t.Skip(err)
			}
		}, ErrFormat},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "credentials")
			test.setup(t, path)
			err := (File{Path: path, Profile: "p"}).Write(t.Context(), fresh)
			if !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if err != nil && !strings.Contains(err.Error(), "credentials") {
				t.Errorf("error does not name the file: %v", err)
			}
		})
	}
	if err := (File{Profile: "p"}).Write(t.Context(), fresh); err == nil {
		t.Error("no path: no error")
	}
}

// Write refuses a file that the next Write would refuse, instead of changing it
// once.
func TestWriteIsRepeatable(t *testing.T) {
	for name, test := range map[string]struct {
		before string
		ok     bool
	}{
		"lines are left":                {strings.Repeat("#\n", maxLines-5) + "[p]\n", true},
		"the profile adds a line":       {strings.Repeat("#\n", maxLines-3), false},
		"a key adds a line":             {strings.Repeat("#\n", maxLines-3) + "[p]\n", false},
		"bytes are left":                {"[p]\n" + strings.Repeat("#"+strings.Repeat("x", 126)+"\n", (MaxSize-2*maxGrowth)/128), true},
		"a longer token is too large":   {"[p]\n" + strings.Repeat("#"+strings.Repeat("x", 126)+"\n", (MaxSize-maxGrowth)/128), false},
		"the same without a line break": {"#" + strings.Repeat("x", MaxSize-maxGrowth), false},
	} {
		path := filepath.Join(t.TempDir(), "credentials")
		writeFile(t, path, test.before)
		f := File{Path: path, Profile: "p"}
		probed, err := f.Probe(), f.Write(t.Context(), fresh)
		if !test.ok {
			if !errors.Is(probed, ErrFormat) || !errors.Is(err, ErrFormat) {
				t.Errorf("%s: Probe %v, Write %v; want ErrFormat", name, probed, err)
			}
			wantFile(t, path, test.before)
			continue
		}
		longer := fresh
		longer.SessionToken = strings.Repeat("t", maxGrowth/2)
		if again := f.Write(t.Context(), longer); probed != nil || err != nil || again != nil {
			t.Errorf("%s: Probe %v, Write %v, again %v", name, probed, err, again)
		}
	}
}

// With quadratic time, this test would not end.
func TestWriteLarge(t *testing.T) {
	for name, line := range map[string]string{
		"profiles": "[%]\n", "nested": " aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=b\n", "continued": " aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", "keys": "%=b\n", "comments": "#\n", "empty": "\n",
	} {
		var b strings.Builder
		b.WriteString("[a]\nk =\n")
		for i := range maxLines / 4 {
			b.WriteString(strings.Replace(line, "%", fmt.Sprintf("%035x", i), 1))
		}
		before := b.String()
		got, _, err := setBytes([]byte(before), "p", fresh)
		if err != nil || !strings.HasPrefix(string(got), before) || !strings.HasSuffix(string(got), "\n[p]\n"+block) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	writeFile(t, path, "[p]\n"+old)
	unlock, err := lock(t.Context(), path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	f := File{Path: path, Profile: "p", Wait: 30 * time.Millisecond}
	if err := f.Write(t.Context(), fresh); !errors.Is(err, ErrLocked) {
		t.Errorf("error %v, want ErrLocked", err)
	}
	f.Wait = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := f.Write(ctx, fresh); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want DeadlineExceeded", err)
	}
	wantFile(t, path, "[p]\n"+old)

	// A waiting writer continues when the lock is released.
	done := make(chan error)
	go func() { done <- f.Write(t.Context(), fresh) }()
	unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
	wantFile(t, path, "[p]\n"+block)
}

// A lock on a removed lock file does not count.
func TestLockRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	f, err := openLock(path+".holdfast.lock", path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !isCurrent(f, f.Name()) {
		t.Error("isCurrent is false for an existing lock file")
	}
	if err := os.Remove(f.Name()); err != nil {
		t.Skip(err) // as on Windows
	}
	if isCurrent(f, f.Name()) {
		t.Error("isCurrent is true for a removed lock file")
	}
	writeFile(t, f.Name(), "")
	if isCurrent(f, f.Name()) {
		t.Error("isCurrent is true although another lock file has the name")
	}
}

// Write removes the temporary files of killed processes.
func TestWriteLeftovers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	writeFile(t, path, "[p]\n"+old)
	for _, name := range []string{".holdfast.tmp", ".holdfast.0123456789abcdef.tmp"} {
		writeFile(t, path+name, "[p]\naws_acc")
	}
	writeFile(t, path+".holdfast.lock", "")
	if err := (File{Path: path, Profile: "p"}).Write(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "[p]\n"+block)

	t.Chdir(filepath.Dir(path))
	writeFile(t, "credentials.holdfast.1.tmp", "[p]\naws_acc")
	if err := (File{Path: "credentials", Profile: "p"}).Write(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "[p]\n"+block)
}

// Without the lock, as on a file system without locks, updates can be lost, but
// no reader sees a partial file and none remains.
func TestWriteWithoutLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	base := strings.Repeat("# "+strings.Repeat("x", 100)+"\n", 5000)
	writeFile(t, path, base)
	stop := make(chan struct{})
	var others, writers sync.WaitGroup
	others.Go(func() {
		for {
			_ = os.Remove(path + ".holdfast.lock")
			if data, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(data), base) {
				t.Errorf("a reader saw %d bytes of at least %d, %v", len(data), len(base), err)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for _, p := range []string{"a", "b", "c"} {
		writers.Go(func() {
			for range 30 {
				_ = (File{Path: path, Profile: p, Wait: time.Minute}).Write(t.Context(), fresh) // another writer may remove its temporary file
			}
		})
	}
	writers.Wait()
	close(stop)
	others.Wait()
}

// lock does not wait for a missing folder.
func TestLockWithoutFolder(t *testing.T) {
	_, err := lock(t.Context(), filepath.Join(t.TempDir(), "gone", "credentials"), time.Minute)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// The lock file is open for writing, which locks on NFS require.
func TestLockOpens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	for _, state := range []string{"created", "existing"} {
		f, err := openLock(path+".holdfast.lock", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(nil); err != nil {
			t.Errorf("%s: %v", state, err)
		}
		f.Close()
	}
}

// Probe reports what Write would refuse, without credentials.
func TestProbe(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct {
		content string
		want    error
	}{
		"good":   {"[p]\n" + old, nil},
		"bad":    {"[p] x\n", ErrFormat},
		"binary": {"\x00", ErrFormat},
	} {
		path := filepath.Join(dir, name)
		writeFile(t, path, test.content)
		link := path + "-link"
		if err := os.Symlink(name, link); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{path, link} {
			if err := (File{Path: p, Profile: "p"}).Probe(); !errors.Is(err, test.want) {
				t.Errorf("%s: error %v, want %v", p, err, test.want)
			}
		}
		wantFile(t, path, test.content, "good", "good-link", "bad", "bad-link", "binary", "binary-link")
	}
	absent := filepath.Join(dir, "no", "file")
	if err := (File{Path: absent, Profile: "p"}).Probe(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(absent)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder was created: %v", err)
	}
}

// Concurrent goroutines lose no update, and readers see complete files.
func TestWriteConcurrently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	writeFile(t, path, "# base\n")
	var wg, readers sync.WaitGroup
	stop := make(chan struct{})
	readers.Go(func() {
		for {
			data, err := os.ReadFile(path)
			if err != nil || strings.Count(string(data), "\n[") != strings.Count(string(data), "== \n")+strings.Count(string(data), "==\n") {
				t.Errorf("a reader saw %v\n%s", err, data)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for _, p := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			for range 5 {
				if err := (File{Path: path, Profile: p, Wait: time.Minute}).Write(t.Context(), fresh); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"a", "b", "c", "d"} {
		if !strings.Contains(string(data), "\n["+p+"]\n"+block) {
			t.Errorf("profile %s is lost:\n%s", p, data)
		}
	}
}
