package keystore_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A deferred function runs when the call of the Store ends.
func TestDefer(t *testing.T) {
	var steps []string
	store := keystore.New(&backend{"xx", []string{"xx"}, func(_ context.Context, _ keystore.Ref, call keystore.Call) (signer.Signer, error) {
		err := call.Defer(func() error { steps = append(steps, "deferred"); return errBroken })
		steps = append(steps, "opened")
		return nil, errors.Join(err, signer.ErrNotFound)
	}})
	_, err := store.Open(t.Context(), refOf(t, "xx:"), keystore.Options{})
	if !errors.Is(err, signer.ErrNotFound) || errors.Is(err, errBroken) || len(steps) != 2 || steps[1] != "deferred" {
		t.Errorf("%q, error %v", steps, err)
	}
}

// Without a Store, nothing is deferred, cached or unsealed.
func TestCallWithoutStore(t *testing.T) {
	var call keystore.Call
	ran := false
	if err := call.Defer(func() error { ran = true; return errBroken }); !ran || !errors.Is(err, errBroken) {
		t.Errorf("ran: %t, error %v", ran, err)
	}
	path := write(t, []byte("1"), 0o600)
	for _, want := range []string{"2", "3"} {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := call.Read(t.Context(), fileRef(path)); string(got) != want || err != nil {
			t.Errorf("got %q, error %v, want %q", got, err, want)
		}
	}
	if _, err := call.PINSource(refOf(t, "vault:a")); err == nil {
		t.Error("accepted a sealed PIN")
	}
}
