package tpm

import (
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// remove removes a persistent object.
func remove(tb testing.TB, emulator *tpmtest.TPM, h tpm2.TPMHandle) {
	tb.Helper()
	d := openTPM(tb, emulator)
	defer d.close()
	o, err := readPublic(d, h)
	if err != nil {
		tb.Fatal(err)
	}
	_, err = tpm2.EvictControl{
		Auth:             tpm2.TPMRHOwner,
		ObjectHandle:     &tpm2.NamedHandle{Handle: h, Name: o.name},
		PersistentHandle: h,
	}.Execute(d)
	if err != nil {
		tb.Fatal(err)
	}
}

// Another program assigns the handle to a different key while the TPM is
// closed. Sign returns an error and does not use the password with the other
// key.
func TestReplaced(t *testing.T) {
	emulator := newTPM(t)
	create := CreateConfig{Device: emulator.Path}
	plain := [2][]byte{makeKey(t, create), makeKey(t, create)}
	create.PIN = fixedPIN(keyPassword)
	secret := [2][]byte{makeKey(t, create), makeKey(t, create)}
	for _, test := range []struct {
		name string
		pems [2][]byte
		cfg  Config
	}{
		{"key", plain, Config{Handle: 0x81010001}},
		{"key with a password", secret, Config{Handle: 0x81010002, PIN: fixedPIN(keyPassword)}},
	} {
		t.Run(test.name, inBubble(func(t *testing.T) {
			test.cfg.Device = emulator.Path
			h := test.cfg.Handle
			makePersistent(t, emulator, h, test.pems[0])
			k := mustOpen(t, test.cfg, dial)
			mustSign(t, k)
			time.Sleep(time.Second) // until the key closes the TPM

			remove(t, emulator, tpm2.TPMHandle(h))
			if err := trySign(k, "removed"); err == nil {
				t.Error("a removed key signed")
			}
			makePersistent(t, emulator, h, test.pems[1])
			wantUnavailable(t, trySign(k, "replaced"))
			remove(t, emulator, tpm2.TPMHandle(h))
			makePersistent(t, emulator, h, test.pems[0])
			mustSign(t, k)
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
			checkEmpty(t, emulator)
		}))
	}
	if n := triesUsed(t, emulator); n != 0 {
		t.Errorf("%d tries were counted", n)
	}
}

// With a resource manager, the name of the key is not read before each
// signature. The signature of a different key is still detected.
func TestReplacedWhileHeld(t *testing.T) {
	emulator := newTPM(t)
	for _, kind := range []keystore.KeyType{keystore.P256, keystore.RSA2048} {
		t.Run(string(kind), func(t *testing.T) {
			const h = 0x81010003
			var pems [2][]byte
			for i := range pems {
				pem, err := Create(t.Context(), CreateConfig{Device: emulator.Path}, kind)
				if err != nil {
					t.Fatal(err)
				}
				pems[i] = pem
			}
			makePersistent(t, emulator, h, pems[0])
			d, dialer := oneConnection(t, emulator.Path)
			k := mustOpen(t, Config{Handle: h}, dialer)
			mustSign(t, k)
			replaceOn(t, d, h, pems[1])
			wantUnavailable(t, trySign(k, "replaced"))
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
			_ = d.close()
			remove(t, emulator, tpm2.TPMHandle(h))
		})
	}
}

// replaceOn replaces a persistent object by the key in a file.
func replaceOn(t *testing.T, d *device, h tpm2.TPMHandle, pem []byte) {
	t.Helper()
	o, err := readPublic(d, h)
	if err != nil {
		t.Fatal(err)
	}
	evict := tpm2.EvictControl{Auth: tpm2.TPMRHOwner, ObjectHandle: &tpm2.NamedHandle{Handle: h, Name: o.name}, PersistentHandle: h}
	if _, err := evict.Execute(d); err != nil {
		t.Fatal(err)
	}
	ld, err := newLoader(t.Context(), Config{PEM: pem}, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ld.load(d)
	if err != nil {
		t.Fatal(err)
	}
	defer l.flush(nil)
	evict.ObjectHandle = &tpm2.NamedHandle{Handle: l.handle, Name: l.name}
	if _, err := evict.Execute(d); err != nil {
		t.Fatal(err)
	}
}
