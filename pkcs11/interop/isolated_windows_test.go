package interop

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// script/test-wine builds both: the module from testdata/windows.c.
const (
	helper = `C:\holdfast\holdfast-pkcs11.exe`
	module = `C:\holdfast\module.dll`

	pin = "2468-user"
)

// blob returns a private key in the form of bcrypt.dll: BCRYPT_ECCKEY_BLOB or
// BCRYPT_RSAKEY_BLOB.
func blob(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	var b bytes.Buffer
	numbers := func(all ...int) {
		for _, n := range all {
			b.Write(binary.LittleEndian.AppendUint32(nil, uint32(n)))
		}
	}
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		point, err := key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		d, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("ECS2")
		numbers(32)
		b.Write(point[1:])
		b.Write(d)
	case *rsa.PrivateKey:
		b.WriteString("RSA2")
		n := key.N.BitLen() / 8
		numbers(n*8, 3, n, n/2, n/2)
		b.Write([]byte{1, 0, 1})
		b.Write(key.N.FillBytes(make([]byte, n)))
		b.Write(key.Primes[0].FillBytes(make([]byte, n/2)))
		b.Write(key.Primes[1].FillBytes(make([]byte, n/2)))
	}
	return b.Bytes()
}

// windowsToken writes the token of the module, and returns the public keys and a Call that
// gives a PIN.
func windowsToken(t *testing.T) (map[string]crypto.Signer, func(pin string) keystore.Call) {
	t.Helper()
	for _, path := range []string{helper, module} {
		if _, err := os.Stat(path); err != nil {
			signertest.Skip(t, "windows-pkcs11", err)
		}
	}
	t.Setenv(pkcs11.HelperVariable, helper)
	dir := t.TempDir()
	t.Setenv("HOLDFAST_TEST_TOKEN", dir)
	ca := signertest.NewCA(t, "root")
	keys := make(map[string]crypto.Signer)
	for _, kind := range []string{"p256", "rsa2048"} {
		keys[kind] = signertest.Key(t, kind)
		if err := errors.Join(os.WriteFile(filepath.Join(dir, kind+".key"), blob(t, keys[kind]), 0o600),
			os.WriteFile(filepath.Join(dir, kind+".crt"), ca.Issue(t, keys[kind], nil).Raw, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return keys, func(pin string) keystore.Call {
		return keystore.Call{Options: keystore.Options{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(pin), nil }}}
	}
}

func refTo(t *testing.T, u pkcs11.URI) keystore.Ref {
	t.Helper()
	u.ModulePath = module
	ref, err := keystore.ParseRef(u.String())
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// TestWindows uses a module whose CK_ULONG has 32 bits and whose structures are packed, in
// the helper process. There the garbage collector runs all the time and overwrites what it
// frees, so that an argument that it frees too early shows.
func TestWindows(t *testing.T) {
	keys, with := windowsToken(t)
	t.Setenv("GOGC", "1")
	t.Setenv("GODEBUG", "clobberfree=1")
	for kind, key := range keys {
		t.Run(kind, func(t *testing.T) {
			signertest.Run(t, func(t *testing.T) signer.Signer {
				s, err := pkcs11.Backend{}.Open(t.Context(), refTo(t, pkcs11.URI{Token: "windows", Object: kind}), with(pin))
				if err != nil {
					t.Fatal(err)
				}
				if !signer.SamePublicKey(s.Public(), key.Public()) || len(s.Chain()) != 1 {
					t.Errorf("public key %v, %d certificates", s.Public(), len(s.Chain()))
				}
				return s
			})
		})
	}
}

func TestWindowsList(t *testing.T) {
	_, with := windowsToken(t)
	entries, err := pkcs11.Backend{}.List(t.Context(), refTo(t, pkcs11.URI{}), with(pin))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Ref.String())
	}
	text := strings.Join(all, "\n")
	for _, want := range []string{"token=windows", "manufacturer=Holdfast", "serial=0001", "object=p256", "object=rsa2048", "id=%02", "type=cert", "type=private"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	u := pkcs11.URI{SlotID: "4294967294", LibraryManufacturer: "Holdfast", LibraryDescription: "test module", LibraryVersion: "3.7", SlotDescription: "slot of the test", SlotManufacturer: "Holdfast"}
	if entries, err := (pkcs11.Backend{}).List(t.Context(), refTo(t, u), with(pin)); err != nil || len(entries) != len(all) {
		t.Errorf("by the attributes of slot and library: %d entries, error %v", len(entries), err)
	}
	for _, u := range []pkcs11.URI{{SlotID: "1"}, {LibraryVersion: "3.8"}, {SlotManufacturer: "other"}} {
		if entries, _ := (pkcs11.Backend{}).List(t.Context(), refTo(t, u), with(pin)); len(entries) != 0 {
			t.Errorf("%v: %d entries", u, len(entries))
		}
	}
}

func TestWindowsPIN(t *testing.T) {
	_, with := windowsToken(t)
	ref := refTo(t, pkcs11.URI{Object: "p256"})
	open := func(pin string) error {
		s, err := pkcs11.Backend{}.Open(t.Context(), ref, with(pin))
		if err == nil {
			err = s.Close()
		}
		return err
	}
	if err := open("wrong"); !errors.Is(err, signer.ErrPINIncorrect) {
		t.Errorf("a wrong PIN: error %v", err)
	}
	if err := open(pin); err != nil {
		t.Errorf("the right PIN: error %v", err)
	}
	if _, err := (pkcs11.Backend{}).Open(t.Context(), ref, keystore.Call{}); !errors.Is(err, signer.ErrPINRequired) {
		t.Errorf("no PIN: error %v", err)
	}
}

func TestWindowsErrors(t *testing.T) {
	_, with := windowsToken(t)
	key, err := pkcs11.Backend{}.Generate(t.Context(), refTo(t, pkcs11.URI{Token: "windows", Object: "new"}), keystore.KeySpec{Type: keystore.P256}, with(pin))
	var rv pkcs11.Error
	if key != nil || !errors.As(err, &rv) || rv != 0x54 {
		t.Errorf("generate: %v, error %v, want CKR_FUNCTION_NOT_SUPPORTED", key, err)
	}
	if _, err := (pkcs11.Backend{}).Generate(t.Context(), refTo(t, pkcs11.URI{Token: "windows", Object: "p256"}), keystore.KeySpec{Type: keystore.P256}, with(pin)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("generate a key that exists: error %v", err)
	}
	if _, err := (pkcs11.Backend{}).Open(t.Context(), refTo(t, pkcs11.URI{Object: "other"}), with(pin)); !errors.Is(err, signer.ErrNotFound) {
		t.Errorf("no such key: error %v", err)
	}
	t.Setenv(pkcs11.HelperVariable, module)
	if _, err := (pkcs11.Backend{}).Open(t.Context(), refTo(t, pkcs11.URI{Object: "p256"}), with(pin)); !errors.Is(err, signer.ErrUnavailable) {
		t.Errorf("no helper: error %v", err)
	}
}
