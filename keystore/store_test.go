package keystore_test

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// opened is an error that says which backend was asked to open what.
type opened struct {
	by   string
	ref  keystore.Ref
	data string // of a file, a variable or standard input
}

func (o opened) Error() string { return o.by + " opened " + o.ref.String() }

// newBackend returns a backend whose Open fails with an opened error.
func newBackend(name string, schemes ...string) *backend {
	return &backend{name, schemes, func(ctx context.Context, ref keystore.Ref, call keystore.Call) (signer.Signer, error) {
		data, _ := call.Read(ctx, ref)
		return nil, opened{name, ref, string(data)}
	}}
}

func newFileBackend() *backend { return newBackend("file", "file", "env", "-") }

func TestStoreChoosesByScheme(t *testing.T) {
	store := keystore.New(newFileBackend(), newBackend("a", "alpha", "beta"), newBackend("b", "gamma"))
	path := write(t, []byte("no PEM"), 0o600)
	for _, test := range []struct {
		in   string
		want opened
	}{
		{"alpha:x", opened{"a", keystore.Ref{Scheme: "alpha", Rest: "x"}, ""}},
		{"beta:", opened{"a", keystore.Ref{Scheme: "beta"}, ""}},
		{"GAMMA:X", opened{"b", keystore.Ref{Scheme: "gamma", Rest: "X"}, ""}},
		{path, opened{"file", fileRef(path), "no PEM"}},
		{"file:" + path, opened{"file", fileRef(path), "no PEM"}},
		{"env:TEXT", opened{"file", keystore.Ref{Scheme: "env", Rest: "TEXT"}, "variable"}},
		{"-", opened{"file", keystore.Ref{Scheme: "-"}, "input"}},
	} {
		_, err := store.Open(t.Context(), refOf(t, test.in), keystore.Options{
			Stdin:     strings.NewReader("input"),
			LookupEnv: func(string) (string, bool) { return "variable", true },
		})
		var got opened
		if !errors.As(err, &got) || got != test.want {
			t.Errorf("%s: %v, want %v", test.in, err, test.want)
		}
	}
}

func TestStoreRefusesUnknownScheme(t *testing.T) {
	store := keystore.New(newFileBackend(), newBackend("a", "alpha", "beta"))
	_, err := store.Open(t.Context(), refOf(t, "gamma:x"), keystore.Options{})
	var refErr *keystore.RefError
	if !errors.As(err, &refErr) || refErr.Ref != "gamma:x" {
		t.Fatalf("error %v", err)
	}
	for _, scheme := range []string{"gamma", "alpha", "beta", "file", "env", "-"} {
		if !strings.Contains(refErr.Err.Error(), scheme) {
			t.Errorf("error %q does not name %s", err, scheme)
		}
	}
	if !strings.Contains(signer.Hint(err), "./gamma:") {
		t.Errorf("hint %q does not say how to name a file", signer.Hint(err))
	}
}

func TestStoreChoosesByPEM(t *testing.T) {
	block := func(blockType string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: []byte("x")}))
	}
	store := keystore.New(newFileBackend(),
		claimer{newBackend("tpm", "tpm"), "TSS2 PRIVATE KEY"}, claimer{newBackend("late", "late"), "TSS2 PRIVATE KEY"}, claimer{newBackend("other", "other"), "OTHER"})
	for _, test := range []struct{ content, want string }{
		{block("PRIVATE KEY"), "file"},
		{block("TSS2 PRIVATE KEY"), "tpm"},
		{block("CERTIFICATE") + block("TSS2 PRIVATE KEY"), "tpm"},
		{block("OTHER"), "other"},
		{base64.StdEncoding.EncodeToString([]byte(block("TSS2 PRIVATE KEY"))), "tpm"},
		{strings.ReplaceAll(block("TSS2 PRIVATE KEY"), "\n", `\n`), "tpm"},
		{strings.ReplaceAll(block("TSS2 PRIVATE KEY"), "\n", "\r\n"), "tpm"},
		{"a comment\n" + block("OTHER"), "other"},
		{strings.TrimSuffix(block("OTHER"), "\n"), "other"},
		{block("OTHERS"), "file"},
		{"TSS2 PRIVATE KEY", "file"},
		{"-----BEGIN OTHER", "file"},
		{"", "file"},
	} {
		path := write(t, []byte(test.content), 0o600)
		for in, ref := range map[string]keystore.Ref{
			path: fileRef(path), "env:TEXT": {Scheme: "env", Rest: "TEXT"}, "-": {Scheme: "-"},
		} {
			_, err := store.Open(t.Context(), refOf(t, in), keystore.Options{
				Stdin:     strings.NewReader(test.content), // a second read would return nothing
				LookupEnv: func(string) (string, bool) { return test.content, true },
			})
			var got opened
			if want := (opened{test.want, ref, test.content}); !errors.As(err, &got) || got != want {
				t.Errorf("%q from %s: %#v, want %#v", test.content, in, err, want)
			}
		}
	}
}

func TestFirstBackendWithScheme(t *testing.T) {
	store := keystore.New(newBackend("a", "other", "same"), newBackend("b", "same"))
	if _, err := store.Open(t.Context(), refOf(t, "none:x"), keystore.Options{}); err == nil || !strings.HasSuffix(err.Error(), "is not one of other, same") {
		t.Errorf("%v, want each scheme once", err)
	}
	_, err := store.Open(t.Context(), refOf(t, "same:x"), keystore.Options{})
	if got, ok := errors.AsType[opened](err); !ok || got.by != "a" {
		t.Errorf("%v, want that a opens it", err)
	}
}

// signerErrors returns all *signer.Error in err's tree.
func signerErrors(err error) []*signer.Error {
	var found []*signer.Error
	if e, ok := err.(*signer.Error); ok {
		found = append(found, e)
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		found = append(found, signerErrors(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			found = append(found, signerErrors(inner)...)
		}
	}
	return found
}

func TestStoreWrapsOnce(t *testing.T) {
	own := &signer.Error{Backend: "xx", Op: "load", Ref: "xx:1", Err: errBroken}
	store := func(err error) *keystore.Store {
		return keystore.New(&backend{"xx", []string{"xx"}, func(context.Context, keystore.Ref, keystore.Call) (signer.Signer, error) { return nil, err }})
	}
	for _, test := range []struct {
		name string
		err  error
		want signer.Error // none if zero
	}{
		{"plain", errBroken, signer.Error{Backend: "xx", Op: "open", Ref: "xx:?pin-value=…"}},
		{"with a hint", signer.WithHint(errBroken, "repair it"), signer.Error{Backend: "xx", Op: "open", Ref: "xx:?pin-value=…"}},
		{"joined", errors.Join(errBroken, signer.ErrNotFound), signer.Error{Backend: "xx", Op: "open", Ref: "xx:?pin-value=…"}},
		{"wrapped already", own, *own},
		{"wrapped already, with a hint", signer.WithHint(own, "repair it"), *own},
		{"wrapped already, further down", fmt.Errorf("more: %w", own), *own},
		{"bad reference", &keystore.RefError{Ref: "x:", Err: errBroken}, signer.Error{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := store(test.err).Open(t.Context(), refOf(t, "xx:?pin-value=s3cret"), keystore.Options{})
			if s != nil || !errors.Is(err, errBroken) {
				t.Fatalf("got %v, error %v", s, err)
			}
			var got signer.Error
			found := signerErrors(err)
			if len(found) > 0 {
				got = *found[0]
				test.want.Err = got.Err
			}
			if len(found) > 1 || got != test.want {
				t.Errorf("%d errors, the first %+v, want %+v", len(found), got, test.want)
			}
		})
	}
}

func TestStoreIsSafeForConcurrentUse(t *testing.T) {
	p := newPKI(t)
	key := signertest.Key(t, "p256")
	store := keystore.New(newFileBackend(), &backend{"xx", []string{"xx"},
		func(ctx context.Context, _ keystore.Ref, call keystore.Call) (signer.Signer, error) {
			if pin, err := call.PIN(ctx, keystore.Prompt{}); err != nil || string(pin) != "1234" {
				return nil, fmt.Errorf("PIN %q: %w", pin, err)
			}
			return &signertest.Fake{Key: key}, nil
		}})
	pin, err := pinSource(write(t, []byte("1234\n"), 0o600), keystore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, p.leaf, 0o600)
	opts := keystore.Options{PIN: pin}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				s, err := store.Open(t.Context(), keystore.Ref{Scheme: "xx"}, opts)
				if err != nil {
					t.Error(err)
					return
				}
				s.Close()
				var got opened
				if _, err := store.Open(t.Context(), fileRef(path), opts); !errors.As(err, &got) || got.data != string(p.leaf) {
					t.Errorf("error %v", err)
				}
			}
		})
	}
	group.Wait()
}
