package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/file"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, size := range map[string]int64{"some": 5, "empty": 0, "largest": keystore.MaxInput, "too large": keystore.MaxInput + 1} {
		if err := os.WriteFile(path(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path(name), size); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"link": "some", "link to folder": ".", "link to nothing": "nothing"} {
		if err := os.Symlink(path(target), path(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name string
		size int // -1: refused
		err  error
	}{
		{"some", 5, nil},
		{"empty", 0, nil},
		{"link", 5, nil},
		{"largest", keystore.MaxInput, nil},
		{"too large", -1, nil},
		{"link to folder", -1, nil},
		{".", -1, nil},
		{"nothing", -1, fs.ErrNotExist},
		{"link to nothing", -1, fs.ErrNotExist},
	} {
		t.Run(test.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && test.name == "link" {
				t.Skip("on Windows only administrators create symbolic links, and Wine does not follow them")
			}
			data, err := keystore.Call{}.Read(t.Context(), fileRef(path(test.name)))
			if test.size >= 0 {
				if err != nil || len(data) != test.size {
					t.Errorf("%d bytes, error %v; want %d bytes", len(data), err, test.size)
				}
				return
			}
			if err == nil || data != nil {
				t.Fatalf("%d bytes, error %v; want only an error", len(data), err)
			}
			if test.err != nil && !errors.Is(err, test.err) {
				t.Errorf("error %v, want %v", err, test.err)
			}
			if strings.Contains(err.Error(), dir) {
				t.Errorf("error %q contains the path, which the Store adds", err)
			}
		})
	}
}

func TestReadFileLimit(t *testing.T) {
	path := write(t, []byte("12345"), 0o600)
	if data, err := keystore.ReadFile(path, 5); err != nil || string(data) != "12345" {
		t.Errorf("got %q, error %v", data, err)
	}
	if data, err := keystore.ReadFile(path, 4); err == nil {
		t.Errorf("got %q, want an error", data)
	}
}

func TestReadVariables(t *testing.T) {
	lookup := func(name string) (string, bool) {
		values := map[string]string{
			"SET": "value", "EMPTY": "",
			"LARGEST": strings.Repeat("x", keystore.MaxInput), "LARGE": strings.Repeat("x", keystore.MaxInput+1),
		}
		v, ok := values[name]
		return v, ok
	}
	for _, test := range []struct {
		name   string
		lookup func(string) (string, bool)
		size   int // -1: refused
		err    error
	}{
		{"SET", lookup, 5, nil},
		{"EMPTY", lookup, 0, nil},
		{"LARGEST", lookup, keystore.MaxInput, nil},
		{"LARGE", lookup, -1, nil},
		{"UNSET", lookup, -1, fs.ErrNotExist},
		{"SET", nil, -1, nil},
	} {
		data, err := keystore.Call{Options: keystore.Options{LookupEnv: test.lookup}}.Read(t.Context(), keystore.Ref{Scheme: keystore.SchemeEnv, Rest: test.name})
		if (err == nil) != (test.size >= 0) || len(data) != max(test.size, 0) || test.err != nil && !errors.Is(err, test.err) {
			t.Errorf("%s: %d bytes, error %v; want %d bytes, error %v", test.name, len(data), err, test.size, test.err)
		}
	}
}

// An endless reader never ends, and counts the bytes that are read.
type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.read += int64(len(p))
	return len(p), nil
}

func TestReadStandardInput(t *testing.T) {
	stdin := keystore.Ref{Scheme: keystore.SchemeStdin}
	if _, err := (keystore.Call{}).Read(t.Context(), stdin); err == nil {
		t.Error("read standard input without Options.Stdin")
	}
	data, err := keystore.Call{Options: keystore.Options{Stdin: strings.NewReader("text")}}.Read(t.Context(), stdin)
	if err != nil || string(data) != "text" {
		t.Errorf("got %q, error %v", data, err)
	}
	broken := io.MultiReader(strings.NewReader("half"), errorReader{})
	if _, err := (keystore.Call{Options: keystore.Options{Stdin: broken}}).Read(t.Context(), stdin); !errors.Is(err, errBroken) {
		t.Errorf("error %v, want the error of the reader", err)
	}
	promptly(t, func() {
		zeros := new(endless)
		if _, err := (keystore.Call{Options: keystore.Options{Stdin: zeros}}).Read(t.Context(), stdin); err == nil {
			t.Error("read an endless input")
		}
		if zeros.read > keystore.MaxInput+1 {
			t.Errorf("read %d bytes before giving up", zeros.read)
		}
	})
	promptly(t, func() {
		open, w := io.Pipe() // nobody writes, nobody closes
		defer w.Close()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := (keystore.Call{Options: keystore.Options{Stdin: open}}).Read(ctx, stdin); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want %v", err, context.Canceled)
		}
	})
}

var errBroken = errors.New("broken")

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errBroken }

func TestReadRefusesOtherSchemes(t *testing.T) {
	if _, err := (keystore.Call{}).Read(t.Context(), keystore.Ref{Scheme: "pkcs11"}); err == nil {
		t.Error("read bytes from a token")
	}
}

// The Store looks for PEM types in every file. The search takes linear time.
func TestHostilePEMIsFast(t *testing.T) {
	store := keystore.New(&backend{name: "file", schemes: []string{"file", "env", "-"},
		open: func(context.Context, keystore.Ref, keystore.Call) (signer.Signer, error) { return nil, errBroken }})
	for _, line := range []string{"-----BEGIN ", "-----BEGIN A-----", "-----BEGIN A-----\n", "-----BEGIN A-----\nB: c\n", "\n-----BEGIN "} {
		promptly(t, func() {
			in := bytes.NewReader(bytes.Repeat([]byte(line), keystore.MaxInput/len(line)))
			if _, err := store.Open(t.Context(), refOf(t, "-"), keystore.Options{Stdin: in}); !errors.Is(err, errBroken) {
				t.Errorf("%q: error %v", line, err)
			}
		})
	}
}

// A pki is a key with its certificate and an intermediate.
type pki struct {
	key, leaf, intermediate []byte // PEM
}

func (p pki) all() []byte { return slices.Concat(p.key, p.leaf, p.intermediate) }

func newPKI(t *testing.T) pki {
	t.Helper()
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	key := signertest.Key(t, "p256")
	return pki{signertest.KeyPEM(t, key), signertest.CertPEM(ca.Issue(t, key, nil)), signertest.CertPEM(ca.Cert)}
}

func TestStandardInputIsReadOnce(t *testing.T) {
	p := newPKI(t)
	s, err := texts{Key: "-", Certificate: write(t, p.leaf, 0o600), Intermediates: "-"}.open(t, keystore.New(file.Backend{}),
		keystore.Options{Stdin: bytes.NewReader(p.all())})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if n := len(s.Chain()); n != 2 {
		t.Errorf("chain of %d certificates, want 2: one from the second use of standard input", n)
	}
}

// A replacing is a file.Backend that replaces the file after it opened it.
type replacing struct {
	file.Backend
	replace func()
}

func (r replacing) Open(ctx context.Context, ref keystore.Ref, call keystore.Call) (signer.Signer, error) {
	s, err := r.Backend.Open(ctx, ref, call)
	r.replace()
	return s, err
}

func TestFilesAreReadOnce(t *testing.T) {
	p := newPKI(t)
	all := write(t, p.all(), 0o600)
	leaf := write(t, p.leaf, 0o600)
	store := keystore.New(replacing{replace: func() {
		if err := os.WriteFile(all, nil, 0o600); err != nil {
			t.Error(err)
		}
	}})
	for _, again := range []string{all, "file:///" + strings.TrimPrefix(filepath.ToSlash(all), "/")} {
		if err := os.WriteFile(all, p.all(), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := texts{Key: all, Certificate: leaf, Intermediates: again}.open(t, store, keystore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(s.Chain()); n != 2 {
			t.Errorf("chain of %d certificates, want 2: one from the bytes that were read first", n)
		}
		s.Close()
	}
	// The Store does not keep the bytes after the call.
	if _, err := store.Open(t.Context(), fileRef(all), keystore.Options{}); err == nil {
		t.Error("used the bytes of the previous call")
	}
}
