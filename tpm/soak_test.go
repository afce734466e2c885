package tpm

import (
	"os"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
)

// TestSoak opens keys with wrong and forgotten passwords for HOLDFAST_SOAK, such
// as 10m, while others sign; "make soak" sets it. Without it, it lasts a second.
func TestSoak(t *testing.T) {
	length := time.Second
	if s := os.Getenv("HOLDFAST_SOAK"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	emulator := newTPM(t)
	scene := newGuardScene(t, emulator)
	for end := time.Now().Add(length); time.Now().Before(end); {
		for _, most := range []uint32{3, 4, 5} {
			resetLockout(t, emulator)
			setMaxTries(t, emulator, most)
			for name, do := range scene.do {
				for _, pin := range []keystore.PINFunc{nil, fixedPIN("wrong"), fixedPIN("")} {
					err := do(pin, pin)
					if n := triesUsed(t, emulator); n >= most {
						t.Fatalf("%s: %d of %d tries used: %v", name, n, most, err)
					}
				}
			}
		}
	}
}
