package keystore_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A keeper is a backend that lists entries and installs chains.
type keeper struct {
	*backend
	entries   []keystore.Entry
	err       error
	installed []*x509.Certificate
}

func (k *keeper) List(context.Context, keystore.Ref, keystore.Call) ([]keystore.Entry, error) {
	return k.entries, k.err
}

func (k *keeper) Install(_ context.Context, _ keystore.Ref, in keystore.Installation, _ keystore.Call) (keystore.Installed, error) {
	k.installed = in.Certificates
	return keystore.Installed{}, k.err
}

// An adviser is a backend that has advice.
type adviser struct{ *backend }

func (adviser) Advice() string { return "ask the locksmith" }

func TestStoreInstalls(t *testing.T) {
	own := &signer.Error{Backend: "inner", Op: "load", Ref: "inner:1", Err: fs.ErrExist}
	k := &keeper{backend: newBackend("shelf", "shelf")}
	store := keystore.New(k)
	ref, chain := refOf(t, "shelf:?pin-value=s3cret"), []*x509.Certificate{{NotAfter: time.Now().Add(time.Hour)}, {}}
	for _, test := range []struct {
		err  error
		want string // what the error begins with
	}{
		{nil, ""},
		{signer.ErrMismatch, "shelf: install certificates for shelf:?pin-value=…: "},
		{own, "inner: load inner:1: "},
		{&keystore.RefError{Ref: "shelf:", Err: errBroken}, "reference "},
	} {
		k.err, k.installed = test.err, nil
		_, err := store.Install(t.Context(), ref, keystore.Installation{Certificates: chain}, keystore.Options{})
		if !errors.Is(err, test.err) || err != nil && !strings.HasPrefix(err.Error(), test.want) || len(k.installed) != 2 {
			t.Errorf("%d certificates, error %v, want %q", len(k.installed), err, test.want)
		}
	}
}

func TestStoreListReturnsEntriesWithError(t *testing.T) {
	k := &keeper{backend: newBackend("shelf", "shelf"), entries: []keystore.Entry{{Kind: keystore.TokenEntry}}, err: errBroken}
	entries, err := keystore.New(k).List(t.Context(), refOf(t, "shelf:"), keystore.Options{})
	var own *signer.Error
	if len(entries) != 1 || !errors.Is(err, errBroken) || !errors.As(err, &own) || own.Backend != "shelf" || own.Op != "list" {
		t.Errorf("%v, error %v", entries, err)
	}
}

// The error for a missing capability names the backend and has a hint.
func TestStoreLacksCapabilities(t *testing.T) {
	store := keystore.New(newBackend("plain", "plain"), adviser{newBackend("wise", "wise")})
	for text, hint := range map[string]string{"plain:x": "docs/references.md", "wise:x": "ask the locksmith"} {
		ref := refOf(t, text)
		_, generate := store.Generate(t.Context(), ref, keystore.KeySpec{}, keystore.Options{})
		_, install := store.Install(t.Context(), ref, keystore.Installation{}, keystore.Options{})
		_, list := store.List(t.Context(), ref, keystore.Options{})
		for name, err := range map[string]error{
			"Generate": generate, "List": list,
			"Install": install,
			"Seal":    store.Seal(t.Context(), ref, nil, keystore.Options{}),
		} {
			hint := hint
			if name == "Install" && text == "plain:x" { // any key can have its certificates in a file
				hint = "Installation.File"
			}
			var own *signer.Error
			if !errors.Is(err, errors.ErrUnsupported) || !errors.As(err, &own) || own.Backend+":x" != text || !strings.Contains(signer.Hint(err), hint) {
				t.Errorf("%s of %s: error %v, hint %q", name, text, err, signer.Hint(err))
			}
		}
	}
}
