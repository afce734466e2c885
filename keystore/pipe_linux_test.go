package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/file"
)

// stayOpen are the pipes of all tests. Like those of a shell, they have numbers of
// their own until the process ends.
var stayOpen []*os.File

// inherited returns the path of a pipe as a shell passes it, and its other end.
func inherited(t *testing.T, folder string) (path string, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	stayOpen = append(stayOpen, r)
	return fmt.Sprintf("%s/%d", folder, r.Fd()), w
}

func writeTo(t *testing.T, w *os.File, data []byte) {
	t.Helper()
	go func() {
		if _, err := w.Write(data); err != nil {
			t.Error(err)
		}
		w.Close()
	}()
}

// The pipes of process substitutions are read, each of them once.
func TestProcessSubstitutions(t *testing.T) {
	p := newPKI(t)
	key, keyEnd := inherited(t, "/dev/fd")
	leaf, leafEnd := inherited(t, "/proc/self/fd")
	more, moreEnd := inherited(t, "/dev/fd")
	writeTo(t, keyEnd, p.key)
	writeTo(t, leafEnd, p.leaf)
	writeTo(t, moreEnd, bytes.Repeat(p.intermediate, 200)) // more than a pipe holds
	store := keystore.New(file.Backend{})
	for range 2 {
		s, err := texts{Key: key, Certificate: leaf, Intermediates: more}.open(t, store, keystore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(s.Chain()); n != 2 {
			t.Errorf("chain of %d certificates, want 2", n)
		}
		s.Close()
	}
}

func TestPipeLimits(t *testing.T) {
	path, w := inherited(t, "/dev/fd")
	writeTo(t, w, []byte("12345"))
	for limit, ok := range map[int64]bool{4: false, 5: true} {
		if data, err := keystore.ReadFile(path, limit); (err == nil) != ok {
			t.Errorf("limit %d: %q, %v", limit, data, err)
		}
	}
	promptly(t, func() {
		path, w := inherited(t, "/dev/fd") // nobody writes, nobody closes
		defer w.Close()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := (keystore.Call{}).Read(ctx, fileRef(path)); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want %v", err, context.Canceled)
		}
	})
	promptly(t, func() {
		path, w := inherited(t, "/dev/fd")
		writeTo(t, w, []byte("1234\n"))
		pin, err := pinSource("file:"+path, keystore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := pin(t.Context(), keystore.Prompt{What: keystore.AskPIN}); string(got) != "1234" {
				t.Errorf("PIN %q, %v", got, err)
			}
		}
	})
}

// Whoever waits for a pipe that nobody writes to, or for another call that does, stops
// with its own context.
func TestMutePipe(t *testing.T) {
	store := keystore.New(file.Backend{})
	mute, _ := inherited(t, "/dev/fd")
	another, _ := inherited(t, "/dev/fd")
	shared := keystore.Options{}.Once()
	stop := errors.New("stop")
	for _, test := range []struct {
		path string
		opts keystore.Options
	}{
		{mute, shared},                // reads
		{mute, shared},                // waits for the same read
		{another, shared},             // the same Options
		{another, keystore.Options{}}, // pipes are read one after the other
	} {
		first, endFirst := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { _, err := store.Open(first, fileRef(mute), shared); done <- err }()
		ctx, cancel := context.WithCancelCause(t.Context())
		cancelSoon := time.AfterFunc(time.Millisecond, func() { cancel(stop) })
		if _, err := store.Open(ctx, fileRef(test.path), test.opts); !errors.Is(err, stop) {
			t.Errorf("error %v", err)
		}
		cancelSoon.Stop()
		endFirst()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the first one: error %v", err)
		}
	}
}
