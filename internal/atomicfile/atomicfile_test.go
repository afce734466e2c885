package atomicfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestMain lets this test binary also be the process that crashes.
func TestMain(m *testing.M) {
	if step, name, ok := strings.Cut(os.Getenv("ATOMICFILE_CRASH"), " "); ok {
		crash(step, name)
	}
	os.Exit(m.Run())
}

// writers holds the two methods that write a file.
var writers = map[string]func(f File, data []byte) error{"Replace": File.Replace, "Create": File.Create}

// files returns the names of the files in a folder.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// wantFile checks the content of path and that the folder contains no other
// file.
func wantFile(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("the file contains %q, %v; want %q", got, err, want)
	}
	if got := files(t, filepath.Dir(path)); !slices.Equal(got, []string{filepath.Base(path)}) {
		t.Errorf("the folder contains %q", got)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	for _, place := range []struct {
		name string
		file func(t *testing.T, dir string) File // of the name "to" in dir
	}{
		{"absolute", func(_ *testing.T, dir string) File { return File{Name: filepath.Join(dir, "to")} }},
		{"relative", func(t *testing.T, dir string) File { t.Chdir(dir); return File{Name: "to"} }},
		{"in a folder, relative", func(t *testing.T, dir string) File {
			t.Chdir(filepath.Dir(dir))
			return File{Name: filepath.Join(filepath.Base(dir), "to")}
		}},
		{"root", func(t *testing.T, dir string) File { return File{FS: openRoot(t, dir), Name: "to"} }},
		{"folder of a root", func(t *testing.T, dir string) File {
			return File{FS: openRoot(t, filepath.Dir(dir)), Name: filepath.Base(dir) + "/to"}
		}},
	} {
		for _, existing := range []string{"nothing", "file", "link", "dangling link", "folder"} {
			for method, write := range writers {
				t.Run(place.name+", "+existing+", "+method, func(t *testing.T) {
					dir, target := t.TempDir(), filepath.Join(t.TempDir(), "target")
					path := filepath.Join(dir, "to")
					switch existing {
					case "file":
						writeFile(t, path, "old")
					case "link":
						writeFile(t, target, "old")
						symlink(t, target, path)
					case "dangling link":
						symlink(t, target, path)
					case "folder":
						if err := os.Mkdir(path, 0o700); err != nil {
							t.Fatal(err)
						}
					}
					before, err := os.Lstat(path)
					if (err == nil) != (existing != "nothing") {
						t.Fatal(err)
					}
					f := place.file(t, dir)
					err = write(f, []byte("new"))
					if fails := existing == "folder" || method == "Create" && existing != "nothing"; fails {
						if err == nil || method == "Create" && !errors.Is(err, fs.ErrExist) {
							t.Errorf("error %v", err)
						}
						if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
							t.Errorf("the existing file was replaced: %v", err)
						}
						if got := files(t, dir); len(got) != 1 {
							t.Errorf("the folder contains %q", got)
						}
					} else {
						if err != nil {
							t.Fatal(err)
						}
						wantFile(t, path, "new")
						if info, err := os.Lstat(path); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
							t.Errorf("%v, %v", info.Mode(), err)
						}
					}
					if existing == "link" {
						wantFile(t, target, "old")
					}
					if err := f.SyncFolder(); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func symlink(t *testing.T, to, path string) {
	t.Helper()
	err := os.Symlink(to, path)
	if err != nil && runtime.GOOS == "windows" {
		t.Skip("on Windows only administrators create symbolic links: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Changes that Prepare makes to the temporary file are kept, and the name of
// the temporary file follows the pattern.
func TestPrepare(t *testing.T) {
	for _, test := range []struct{ temporary, prefix, suffix string }{
		{"", ".holdfast-", ""},
		{"to.*.tmp", "to.", ".tmp"},
		{"*", "", ""},
		{"a*b.*.tmp", "a*b.", ".tmp"},
	} {
		if runtime.GOOS == "windows" && strings.Contains(test.prefix, "*") {
			continue // Windows names cannot contain *
		}
		path, name := filepath.Join(t.TempDir(), "to"), ""
		f := File{Name: path, Temporary: test.temporary, Prepare: func(f *os.File) error {
			name = filepath.Base(f.Name())
			if info, err := f.Stat(); err != nil || info.Size() != 0 {
				t.Errorf("%v, %v", info, err)
			}
			return f.Chmod(0o444)
		}}
		if err := f.Replace([]byte("new")); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, "new")
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o444 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		if !strings.HasPrefix(name, test.prefix) || !strings.HasSuffix(name, test.suffix) || len(name) != len(test.prefix+test.suffix)+16 {
			t.Errorf("%q: the temporary name is %q", test.temporary, name)
		}
	}
}

var errFault = errors.New("fault")

// A faultyFS calls fault before one step and returns its error.
type faultyFS struct {
	FS
	step  string
	fault func() error
}

func (f faultyFS) at(step string) error {
	if step == f.step {
		return f.fault()
	}
	return nil
}

func (f faultyFS) OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	if err := f.at("OpenFile"); err != nil {
		return nil, err
	}
	return f.FS.OpenFile(name, flag, perm)
}

func (f faultyFS) Rename(oldname, newname string) error {
	return errors.Join(f.at("place"), f.FS.Rename(oldname, newname))
}

func (f faultyFS) Link(oldname, newname string) error {
	return errors.Join(f.at("place"), f.FS.Link(oldname, newname))
}

func (f faultyFS) Remove(name string) error {
	return errors.Join(f.at("Remove"), f.FS.Remove(name))
}

func TestFaults(t *testing.T) {
	closed := func(f *os.File) error { return f.Close() } // so that the next step fails
	for _, test := range []struct {
		name    string
		step    string // the step of the FS that fails
		prepare func(f *os.File) error
		want    error
	}{
		{"no temporary file", "OpenFile", nil, errFault},
		{"not prepared", "", func(*os.File) error { return errFault }, errFault},
		{"not written", "", closed, fs.ErrClosed},
	} {
		for method, write := range writers {
			t.Run(test.name+", "+method, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "to")
				writeFile(t, path, "old")
				f := File{FS: faultyFS{osFS{}, test.step, func() error { return errFault }}, Name: path, Prepare: test.prepare}
				if err := write(f, []byte("new")); !errors.Is(err, test.want) || errors.Is(err, fs.ErrExist) {
					t.Errorf("error %v, want %v", err, test.want)
				}
				wantFile(t, path, "old")
			})
		}
	}
	t.Run("not renamed", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "to")
		writeFile(t, path, "old")
		f := File{FS: noRename{osFS{}}, Name: path}
		for method, write := range writers {
			if err := write(f, []byte("new")); !errors.Is(err, errFault) {
				t.Errorf("%s: error %v", method, err)
			}
			wantFile(t, path, "old")
		}
	})
	t.Run("not removed", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "to")
		f := File{FS: faultyFS{osFS{}, "Remove", func() error { return errFault }}, Name: path}
		if err := f.Create([]byte("new")); !errors.Is(err, errFault) {
			t.Errorf("error %v", err)
		}
		wantFile(t, path, "new")
	})
	t.Run("no folder", func(t *testing.T) {
		f := File{Name: filepath.Join(t.TempDir(), "none", "to")}
		for method, write := range writers {
			if err := write(f, []byte("new")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: error %v", method, err)
			}
		}
		if err := f.SyncFolder(); runtime.GOOS != "windows" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error %v", err)
		}
	})
}

// noRename is a file system that supports neither links nor renames.
type noRename struct{ FS }

func (noRename) Rename(string, string) error { return errFault }
func (noRename) Link(string, string) error   { return errFault }

// crash writes the file and exits this process in the middle of one step.
func crash(step, name string) {
	method, step, _ := strings.Cut(step, ":")
	f := File{FS: faultyFS{osFS{}, step, func() error { os.Exit(3); return nil }}, Name: name}
	if step == "Prepare" {
		f.Prepare = func(*os.File) error { os.Exit(3); return nil }
	}
	_ = writers[method](f, []byte("new"))
	os.Exit(0)
}

// After a crash the file has the old or the new content, and the folder
// contains at most one temporary file.
func TestCrash(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		step, old string
		want      string // "": no file
		left      string // content of the temporary file; "none": there is none
	}{
		{"Replace:OpenFile", "old", "old", "none"},
		{"Replace:Prepare", "old", "old", ""},
		{"Replace:place", "old", "old", "new"},
		{"Create:OpenFile", "", "", "none"},
		{"Create:Prepare", "", "", ""},
		{"Create:place", "", "", "new"},
		{"Create:Remove", "", "new", "new"},
	} {
		t.Run(test.step, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "to")
			if test.old != "" {
				writeFile(t, path, test.old)
			}
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), "ATOMICFILE_CRASH="+test.step+" "+path)
			if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 3 {
				t.Fatalf("it did not crash: %v\n%s", err, out)
			}
			if got, _ := os.ReadFile(path); string(got) != test.want {
				t.Errorf("the file contains %q, want %q", got, test.want)
			}
			left, err := filepath.Glob(filepath.Join(dir, ".holdfast-*"))
			if err != nil || (len(left) == 0) != (test.left == "none") || len(left) > 1 {
				t.Fatalf("temporary files: %q, %v", left, err)
			}
			if len(left) == 1 {
				if got, err := os.ReadFile(left[0]); err != nil || string(got) != test.left {
					t.Errorf("the temporary file contains %q, %v; want %q", got, err, test.left)
				}
			}
			// The next write succeeds.
			if err := (File{Name: path}).Replace([]byte("next")); err != nil {
				t.Error(err)
			}
			if got, _ := os.ReadFile(path); string(got) != "next" {
				t.Errorf("the file contains %q", got)
			}
		})
	}
}

// Of many concurrent calls of Create, one succeeds. Readers of a file that is
// being replaced see complete data.
func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	f := File{FS: openRoot(t, dir), Name: "to"}
	data := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 100_000) }
	check := func() {
		got, err := os.ReadFile(filepath.Join(dir, "to"))
		if err != nil || len(got) != 100_000 || len(bytes.Trim(got, string(got[:1]))) > 0 {
			t.Errorf("the file is only partly written: %d bytes, %v", len(got), err)
		}
	}
	errs := make(chan error)
	for i := range 8 {
		go func() { errs <- f.Create(data(i)) }()
	}
	created := 0
	for range 8 {
		switch err := <-errs; {
		case err == nil:
			created++
		case !errors.Is(err, fs.ErrExist):
			t.Error(err)
		}
	}
	if created != 1 {
		t.Errorf("%d calls created the file, want 1", created)
	}
	check()
	if runtime.GOOS == "windows" {
		return // a reader can block a rename on Windows
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 10 {
				if err := f.Replace(data(i)); err != nil {
					t.Error(err)
				}
				check()
			}
		})
	}
	wg.Wait()
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("the folder contains %q", got)
	}
}
