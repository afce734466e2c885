package file

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"slices"
	"testing"

	"golang.org/x/crypto/scrypt"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// formats returns the key of Key("p256") in each supported format, with the
// password "x" and cheap key derivations.
func formats(t testing.TB) map[string][]byte {
	t.Helper()
	key := signertest.Key(t, "p256")
	ca := signertest.NewCA(t, "root")
	pkcs8 := keyDER(t, "p256")
	sec1, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	scryptKey, err := scrypt.Key([]byte("x"), []byte("salt"), 2, 1, 1, 16)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := encrypt(t, pkcs8, "x").der(t)
	block := func(blockType string, b []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: b})
	}
	return map[string][]byte{
		"PKCS #8":                   pkcs8,
		"encrypted PKCS #8":         encrypted,
		"encrypted PEM":             block("ENCRYPTED PRIVATE KEY", encrypted),
		"scrypt":                    encryptWith(t, pkcs8, scryptKey, oidScrypt, seq{[]byte("salt"), 2, 1, 1}).der(t),
		"SEC 1":                     sec1,
		"PEM":                       block("PRIVATE KEY", pkcs8),
		"PEM with chain":            slices.Concat(block("PRIVATE KEY", pkcs8), signertest.CertPEM(ca.Issue(t, key, nil))),
		"PKCS #12 in PEM":           block("PKCS12", encodePFX(t, pkcs12.Modern2023.WithIterations(2), "x")),
		"PKCS #12 without password": encodePFX(t, pkcs12.Passwordless, ""),
		"PKCS #12 2023":             encodePFX(t, pkcs12.Modern2023.WithIterations(2), "x"),
		"PKCS #12 2026":             encodePFX(t, pkcs12.Modern2026.WithIterations(2), "x"),
		"PKCS #12 DES":              encodePFX(t, pkcs12.LegacyDES.WithIterations(2), "x"),
		"PKCS #12 RC2":              encodePFX(t, pkcs12.LegacyRC2.WithIterations(2), "x"),
	}
}

// A truncated or changed file results in an error or in the key.
func TestOpenDamagedFiles(t *testing.T) {
	key := signertest.Key(t, "p256")
	for name, whole := range formats(t) {
		t.Run(name, func(t *testing.T) {
			check := func(damage string, at int, data []byte) {
				s, err := open(t.Context(), data)
				if err != nil {
					if damage == "none" {
						t.Error(err)
					}
					return
				}
				defer s.Close()
				if damage != "changed" && !signer.SamePublicKey(s.Public(), key.Public()) {
					t.Errorf("%s at %d: another key", damage, at)
				}
				digest := make([]byte, 32)
				signature, err := s.Sign(rand.Reader, digest, crypto.SHA256)
				if err != nil || !ecdsa.VerifyASN1(s.Public().(*ecdsa.PublicKey), digest, signature) {
					t.Errorf("%s at %d: a key that cannot sign, error %v", damage, at, err)
				}
			}
			promptly(t, func() {
				check("none", 0, whole)
				for i := range whole {
					check("truncated", i, whole[:i])
					for _, change := range []byte{0xff, 0x01, 0x80} {
						data := bytes.Clone(whole)
						data[i] ^= change
						check("changed", i, data)
					}
				}
			})
		})
	}
}

// oddNumber returns a number of n bits that crypto/x509 accepts as a prime of
// an RSA key.
func oddNumber(n uint, minus int64) *big.Int {
	p := new(big.Int).Lsh(big.NewInt(1), n)
	p.Sub(p, big.NewInt(minus))
	one, e := big.NewInt(1), big.NewInt(65537)
	for new(big.Int).GCD(nil, nil, e, new(big.Int).Sub(p, one)).Cmp(one) != 0 {
		p.Sub(p, big.NewInt(2))
	}
	return p
}

// The time to check a key grows with the cube of its size.
func TestOpenRefusesOversizeKeys(t *testing.T) {
	p, q := oddNumber(14_800, 159), oddNumber(14_700, 317)
	one, e := big.NewInt(1), big.NewInt(65537)
	p1, q1 := new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)
	d := new(big.Int).ModInverse(e, new(big.Int).Mul(p1, q1))
	pkcs1 := der(t, seq{0, new(big.Int).Mul(p, q), e, d, p, q, new(big.Int).Mod(d, p1), new(big.Int).Mod(d, q1), new(big.Int).ModInverse(q, p)})
	if len(pkcs1) <= maxKey {
		t.Fatalf("key of %d bytes, want more than %d", len(pkcs1), maxKey)
	}
	if _, err := x509.ParsePKCS1PrivateKey(pkcs1); err != nil {
		t.Fatalf("crypto/x509 refuses the key: %v", err)
	}
	pkcs8 := der(t, seq{0, seq{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, asn1.NullRawValue}, pkcs1})
	for name, in := range map[string][]byte{
		"PKCS #1": pkcs1, "PEM": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: pkcs1}),
		"PKCS #8": pkcs8, "encrypted": encrypt(t, pkcs8, "x").der(t),
	} {
		if _, err := open(t.Context(), in); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	if _, err := parseKey(t.Context(), make([]byte, maxKey+1), nil); err == nil {
		t.Error("parsed a key of one byte more than allowed")
	}
}
