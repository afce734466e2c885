package tpm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
)

// TestShortCoordinates tests points with coordinates that begin with a zero
// byte, which some programs omit.
func TestShortCoordinates(t *testing.T) {
	for _, short := range []string{"x", "y"} {
		// One in 256 keys has such a coordinate.
		for {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			point, err := key.PublicKey.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			x, y := point[1:33], point[33:]
			if short == "x" && x[0] != 0 || short == "y" && y[0] != 0 {
				continue
			}
			area := signingTemplate(keystore.P256)
			area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
				X: tpm2.TPM2BECCParameter{Buffer: bytes.TrimLeft(x, "\x00")},
				Y: tpm2.TPM2BECCParameter{Buffer: bytes.TrimLeft(y, "\x00")},
			})
			o, err := signingKey(area)
			if err != nil {
				t.Fatalf("short %s: %v", short, err)
			}
			if !key.PublicKey.Equal(o.pub) {
				t.Errorf("short %s: wrong key", short)
			}
			break
		}
	}
}
