package pkcs11

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
)

func TestModulesShared(t *testing.T) {
	f := newFake(t)
	table, path := f.table(t)
	link := filepath.Join(t.TempDir(), "link.so")
	if err := os.Symlink(path, link); err != nil {
		if runtime.GOOS != "windows" {
			t.Fatal(err)
		}
		t.Skip(err) // symbolic links require a privilege on Windows
	}
	loads := 0
	table.load = func(string) (module, error) { loads++; return f, nil }
	a, err := table.open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := table.open(link)
	if err != nil {
		t.Fatal(err)
	}
	if a != b || loads != 1 {
		t.Errorf("a file with two names is loaded %d times, want once", loads)
	}
	if err := b.release(); err != nil || f.finalized {
		t.Errorf("finalized before the last release; error %v", err)
	}
	if err := a.release(); err != nil || !f.finalized {
		t.Errorf("not finalized after the last release; error %v", err)
	}
	if len(table.byPath) != 0 {
		t.Error("the module is still in the table")
	}
}

func TestModulesLoadError(t *testing.T) {
	f := newFake(t)
	table, path := f.table(t)
	good := table.load
	table.load = func(string) (module, error) { return nil, signer.ErrUnavailable }
	if _, err := table.open(path); !errors.Is(err, signer.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	table.load = good
	m, err := table.open(path)
	if err != nil {
		t.Fatalf("the previous error is returned again: %v", err)
	}
	f.fail("finalize", ckrFunctionFailed)
	if err := m.release(); !errors.Is(err, ckrFunctionFailed) {
		t.Errorf("release: %v, want the error of finalize", err)
	}
	if m, err = table.open(path); err != nil {
		t.Fatal(err)
	}
	if err := m.release(); err != nil {
		t.Error(err)
	}
}

func TestModulesConcurrently(t *testing.T) {
	var loaded, live atomic.Int32
	table, path := newFake(t).table(t)
	table.load = func(string) (module, error) {
		if live.Add(1) > 1 {
			t.Error("initialized twice")
		}
		loaded.Add(1)
		return &countedModule{newFake(t), &live}, nil
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				m, err := table.open(path)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := m.slots(); err != nil {
					t.Error(err)
				}
				if err := m.release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if live.Load() != 0 || len(table.byPath) != 0 {
		t.Errorf("%d of %d modules are not finalized", live.Load(), loaded.Load())
	}
}

type countedModule struct {
	*fakeModule
	live *atomic.Int32
}

func (m *countedModule) finalize() error {
	if m.live.Add(-1) < 0 {
		m.tb.Error("finalized twice")
	}
	return m.fakeModule.finalize()
}

// A library whose file has two names is loaded once.
func TestModuleWithTwoNames(t *testing.T) {
	f := newFake(t)
	table, path := f.table(t)
	name := path + ".2"
	if err := os.Link(path, name); err != nil {
		t.Fatal(err)
	}
	first, err := table.open(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := table.open(name)
	if err != nil {
		t.Fatal(err)
	}
	if first != second {
		t.Error("the library was loaded twice")
	}
	if err := errors.Join(first.release(), second.release()); err != nil || len(table.byPath) != 0 {
		t.Errorf("%d modules are left, error %v", len(table.byPath), err)
	}
}

func TestCheckModule(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"relative.so", "./relative.so", dir, filepath.Join(dir, "missing.so")} {
		if _, err := checkModule(path); err == nil {
			t.Errorf("%q is accepted as a module", path)
		}
	}
	if _, err := modulePath(URI{ModuleName: "no-such-module"}); !errors.Is(err, signer.ErrUnavailable) || signer.Hint(err) == "" {
		t.Errorf("module-name without a file: error %v, hint %q", err, signer.Hint(err))
	}
}
