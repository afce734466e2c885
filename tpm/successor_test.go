package tpm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A successor has the parent, the PCRs and a password like the old key.
func TestSuccessor(t *testing.T) {
	m := newMaker(t, newTPM(t))
	password := keystore.Call{Options: keystore.Options{PIN: fixedPIN(keyPassword)}}
	for _, test := range []struct {
		name, attributes string
		call             keystore.Call
		asFile           bool
	}{
		{"plain", "", keystore.Call{}, false},
		{"password", "", password, false},
		{"PCRs", ";pcrs=sha256:0,7+sha1:9", keystore.Call{}, false},
		{"PCRs and a password, named as a file", ";pcrs=sha256:7", password, true},
		{"another hierarchy", ";parent=endorsement", keystore.Call{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key.pem")
			attributes := test.attributes
			if attributes == ";parent=endorsement" {
				attributes = ";parent=0x4000000b"
			}
			old, err := m.generate("path="+path+attributes, keystore.P256, test.call)
			if err != nil {
				t.Fatal(err)
			}
			defer old.Close()
			ref := old.Ref()
			call := test.call
			if test.asFile {
				ref = keystore.Ref{Scheme: keystore.SchemeFile, Rest: path}
				call.LookupEnv = func(name string) (string, bool) { return m.emulator.Path, name == deviceVariable }
			}
			for range 2 {
				k, err := Backend{}.GenerateSuccessor(t.Context(), ref, keystore.KeySpec{Type: keystore.P256}, old.Public(), call)
				if err != nil {
					t.Fatal(err)
				}
				if err := m.sign(k); err != nil || signer.SamePublicKey(k.Public(), old.Public()) {
					t.Error("it is not a new key that signs", err)
				}
				if err := errors.Join(k.Close(), m.openAndSign(k.Ref(), call)); err != nil {
					t.Error(err)
				}
			}
			was, is := keyFileAt(t, path), keyFileAt(t, path+keystore.SuccessorSuffix)
			wasPCRs, err := pcrsOf(was)
			if err != nil {
				t.Fatal(err)
			}
			isPCRs, err := pcrsOf(is)
			if err != nil || !reflect.DeepEqual(wasPCRs, isPCRs) {
				t.Errorf("PCRs %v, then %v, %v", wasPCRs, isPCRs, err)
			}
			if was.parent != is.parent || was.emptyAuth != is.emptyAuth || is.emptyAuth != (test.call.PIN == nil) {
				t.Errorf("%+v, then %+v", was, is)
			}
		})
	}
}

func keyFileAt(t *testing.T, path string) *keyFile {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parseKeyPEM(data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Without its password, a key with one has no successor without one.
func TestSuccessorNeedsThePassword(t *testing.T) {
	m := newMaker(t, newTPM(t))
	path := filepath.Join(t.TempDir(), "key.pem")
	old, err := m.generate("path="+path, keystore.P256, keystore.Call{Options: keystore.Options{PIN: fixedPIN(keyPassword)}})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	empty := func(context.Context, keystore.Prompt) ([]byte, error) { return nil, nil }
	k, err := Backend{}.GenerateSuccessor(t.Context(), old.Ref(), keystore.KeySpec{Type: keystore.P256}, old.Public(), keystore.Call{Options: keystore.Options{PIN: empty}})
	if !errors.Is(err, signer.ErrPINRequired) {
		t.Errorf("%v, %v", k, err)
	}
	if _, err := os.Stat(path + keystore.SuccessorSuffix); err == nil {
		t.Error("there is a key")
	}
}
