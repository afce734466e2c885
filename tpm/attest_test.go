package tpm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// areaOf returns the public area of an endorsement key, from its public key alone.
func areaOf(tb testing.TB, pub crypto.PublicKey) tpm2.TPMTPublic {
	tb.Helper()
	kind, _ := keystore.KeyTypeOf(pub)
	types, err := endorsementTypesOf(kind)
	if err != nil {
		tb.Fatal(err)
	}
	area := types[0].template()
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: pub.N.Bytes()})
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil {
			tb.Fatal(err)
		}
		n := len(point) / 2
		area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: point[1 : 1+n]}, Y: tpm2.TPM2BECCParameter{Buffer: point[1+n:]}})
	}
	return area
}

// credentialFor makes a credential for the key with the given public area.
func credentialFor(tb testing.TB, ek crypto.PublicKey, area, secret []byte) keystore.Credential {
	tb.Helper()
	ekArea := areaOf(tb, ek)
	to, err := tpm2.ImportEncapsulationKey(&ekArea)
	if err != nil {
		tb.Fatal(err)
	}
	key, err := unmarshal[tpm2.TPMTPublic](area)
	if err != nil {
		tb.Fatal(err)
	}
	name, err := tpm2.ObjectName(key)
	if err != nil {
		tb.Fatal(err)
	}
	blob, encrypted, err := tpm2.CreateCredential(rand.Reader, to, name.Buffer, secret)
	if err != nil {
		tb.Fatal(err)
	}
	o, err := signingKey(*key)
	if err != nil {
		tb.Fatal(err)
	}
	return keystore.Credential{Key: o.pub, EndorsementKey: ek, Blob: blob, Secret: encrypted}
}

// TestAttest makes evidence for keys of all kinds, and activates a credential for
// each of them.
func TestAttest(t *testing.T) {
	maker := tpmtest.NewMaker(t)
	certified, plain := maker.Start(t), newTPM(t)
	secret := bytes.Repeat([]byte{7}, 32)
	pcrs := []PCRs{{Hash: crypto.SHA256, Numbers: []uint{7, 16}}}
	for _, test := range []struct {
		name        string
		emulator    *tpmtest.TPM
		kind        keystore.KeyType
		create      CreateConfig
		password    string
		persistent  Handle
		endorsement keystore.KeyType // ""
		want        keystore.KeyType // the type of the endorsement key
		certificate bool
		policy      int
	}{
		{name: "certified", emulator: certified, kind: keystore.P256, want: keystore.RSA2048, certificate: true},
		{name: "certified, the other key", emulator: certified, kind: keystore.P256, endorsement: keystore.P384, want: keystore.P384, certificate: true},
		{name: "certified, a key without certificate", emulator: certified, kind: keystore.P256, endorsement: keystore.P256, want: keystore.P256},
		{name: "not certified", emulator: plain, kind: keystore.RSA2048, want: keystore.RSA2048},
		{name: "P-384", emulator: plain, kind: keystore.P384, endorsement: keystore.P384, want: keystore.P384},
		{name: "password", emulator: plain, kind: keystore.P256, password: "key password", endorsement: keystore.P256, want: keystore.P256},
		{name: "PCRs", emulator: certified, kind: keystore.P256, create: CreateConfig{PCRs: pcrs}, want: keystore.RSA2048, certificate: true, policy: 1},
		{name: "PCRs and password", emulator: certified, kind: keystore.P256, create: CreateConfig{PCRs: pcrs}, password: "key password", want: keystore.RSA2048, certificate: true, policy: 2},
		{name: "persistent", emulator: plain, kind: keystore.P256, persistent: 0x81010f02, endorsement: keystore.P256, want: keystore.P256},
		{name: "persistent with password", emulator: certified, kind: keystore.P256, password: "key password", persistent: 0x81000003, want: keystore.RSA2048, certificate: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.create.Device = test.emulator.Path
			if test.password != "" {
				test.create.PIN = fixedPIN(test.password)
			}
			pem, err := Create(t.Context(), test.create, test.kind)
			if err != nil {
				t.Fatal(err)
			}
			cfg := Config{PEM: pem, Device: test.emulator.Path}
			if test.persistent != 0 {
				makePersistent(t, test.emulator, test.persistent, pem)
				cfg = Config{Handle: test.persistent, Device: test.emulator.Path}
			}
			b := &bus{}
			at, err := attest(t.Context(), cfg, test.endorsement, b.dial)
			if err != nil {
				t.Fatal(err)
			}
			checkEmpty(t, test.emulator)
			if n := count(b.commands(), "Sign"); n != 0 {
				t.Errorf("the key signed %d times", n)
			}
			if kind, _ := keystore.KeyTypeOf(at.TPM.EndorsementKey); kind != test.want || (at.TPM.EndorsementCertificate != nil) != test.certificate || len(at.TPM.Policy) != test.policy {
				t.Errorf("endorsement key %v, certificate of %d bytes, policy %v", kind, len(at.TPM.EndorsementCertificate), at.TPM.Policy)
			}
			if test.certificate {
				if c, err := x509.ParseCertificate(at.TPM.EndorsementCertificate); err != nil || !signer.SamePublicKey(c.PublicKey, at.TPM.EndorsementKey) {
					t.Errorf("the certificate is for another key: %v", err)
				}
			}
			cfg.PIN = test.create.PIN
			b = &bus{}
			got, err := activate(t.Context(), cfg, credentialFor(t, at.TPM.EndorsementKey, at.TPM.Area, secret), b.dial)
			if err != nil || !bytes.Equal(got, secret) {
				t.Fatalf("the secret is %x: %v", got, err)
			}
			checkEmpty(t, test.emulator)
			k := mustOpen(t, cfg, dial)
			defer k.Close()
			if !signer.SamePublicKey(k.Public(), at.Public) {
				t.Error("the evidence is for another key")
			}
		})
	}
}
