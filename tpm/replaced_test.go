package tpm

import (
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// remove takes a persistent object away.
func remove(tb testing.TB, emulator *tpmtest.TPM, h Handle) {
	tb.Helper()
	d := connection(tb, emulator)
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

// A handle may get another key while nobody holds the TPM. That one neither
// signs for the first, nor is a password tried on it.
func TestReplaced(t *testing.T) {
	emulator := newTPM(t)
	create := CreateConfig{Device: emulator.Path}
	plain := [2][]byte{makeKey(t, create), makeKey(t, create)}
	create.PIN = give(keyPassword)
	secret := [2][]byte{makeKey(t, create), makeKey(t, create)}
	for _, test := range []struct {
		name string
		pems [2][]byte
		cfg  Config
	}{
		{"key", plain, Config{Handle: 0x81010001}},
		{"key with a password", secret, Config{Handle: 0x81010002, PIN: give(keyPassword)}},
	} {
		t.Run(test.name, inBubble(func(t *testing.T) {
			test.cfg.Device = emulator.Path
			h := test.cfg.Handle
			keep(t, emulator, h, test.pems[0])
			k := mustOpen(t, test.cfg, dial)
			mustSign(t, k)
			time.Sleep(time.Second) // it is let go

			remove(t, emulator, h)
			if err := trySign(k, "removed"); err == nil {
				t.Error("a key signed that is gone")
			}
			keep(t, emulator, h, test.pems[1])
			wantUnavailable(t, trySign(k, "replaced"))
			remove(t, emulator, h)
			keep(t, emulator, h, test.pems[0])
			mustSign(t, k)
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
			checkEmpty(t, emulator)
		}))
	}
	if n := tries(t, emulator); n != 0 {
		t.Errorf("%d tries were counted", n)
	}
}
