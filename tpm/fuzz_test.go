package tpm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// limitMemory calls f and fails the test if f allocates too much memory for an
// input of the given size.
func limitMemory(t *testing.T, given int, f func()) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if n, most := after.TotalAlloc-before.TotalAlloc, uint64(1<<20+200*given); n > most {
		t.Errorf("allocated %d KiB for %d bytes", n>>10, given)
	}
}

// createdKeys returns files that a TPM created, or none without swtpm.
func createdKeys(f *testing.F) (files [][]byte) {
	if _, err := exec.LookPath("swtpm"); err != nil {
		return nil
	}
	emulator := tpmtest.Start(f)
	defer emulator.Kill()
	cfg := CreateConfig{Device: emulator.Path}
	withPIN := cfg
	withPIN.PIN = func(context.Context, keystore.Prompt) ([]byte, error) { return []byte("sword"), nil }
	withPCRs := withPIN
	withPCRs.PCRs = []PCRs{{crypto.SHA256, []uint{0, 7}}}
	add := func(data []byte, err error) {
		if err != nil {
			f.Fatal(err)
		}
		files = append(files, data)
	}
	add(Create(f.Context(), cfg, keystore.P256))
	add(Create(f.Context(), withPIN, keystore.RSA2048))
	add(Create(f.Context(), withPCRs, keystore.P384))
	add(Seal(f.Context(), withPCRs, []byte("secret")))
	return files
}

// samplePublicAreas returns public areas of all types with invented values.
func samplePublicAreas() (all [][]byte) {
	rsaKey, eccKey := rsaTemplate(2048), eccTemplate(tpm2.TPMECCNistP256)
	rsaKey.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: bytes.Repeat([]byte{0xc5}, 256)})
	pss := rsaTemplate(1024)
	pss.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: 1024, Symmetric: noSymmetric, Exponent: 3,
		Scheme: tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgRSAPSS, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSAPSS, &tpm2.TPMSSigSchemeRSAPSS{HashAlg: tpm2.TPMAlgSHA256})}})
	pss.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: bytes.Repeat([]byte{0xc5}, 128)})
	for _, area := range []tpm2.TPMTPublic{
		rsaKey, eccKey, pss, tpm2.RSASRKTemplate, tpm2.ECCSRKTemplate, tpm2.RSAEKTemplate, tpm2.ECCEKTemplate,
		{Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
			Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{Scheme: tpm2.TPMTKeyedHashScheme{Scheme: tpm2.TPMAlgNull}}),
			Unique:     tpm2.NewTPMUPublicID(tpm2.TPMAlgKeyedHash, &tpm2.TPM2BDigest{})},
		{Type: tpm2.TPMAlgSymCipher, NameAlg: tpm2.TPMAlgSHA256,
			Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgSymCipher, &tpm2.TPMSSymCipherParms{Sym: noSymmetric}),
			Unique:     tpm2.NewTPMUPublicID(tpm2.TPMAlgSymCipher, &tpm2.TPM2BDigest{})},
	} {
		all = append(all, tpm2.Marshal(tpm2.New2B(area)))
	}
	return all
}

// FuzzParseKey parses its input as a file, as the DER in a file, and as a
// public area.
func FuzzParseKey(f *testing.F) {
	for _, file := range createdKeys(f) {
		block, _ := pem.Decode(file)
		key, err := parseKey(block.Bytes)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
		f.Add(block.Bytes)
		f.Add(key.public)
	}
	publics := samplePublicAreas()
	for _, public := range publics {
		f.Add(public)
	}
	hand := keyFile{kind: oidLoadable, parent: OwnerHierarchy, public: publics[0], private: []byte{0, 1, 7}}
	file, err := hand.marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	for _, der := range [][]byte{
		keyOf(f, field(0, isTrue), field(1, tlv(0x30, stepOf(0x17f, nil), stepOf(0x16b, nil))), field(2, tlv(4, []byte{0, 1, 1})), field(5, isTrue)),
		keyOf(f, field(3, tlv(0x30)), field(6)),
		{0x30, 0x80, 0, 0},
	} {
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		limitMemory(t, len(data), func() {
			for _, parse := range []func([]byte) (*keyFile, error){parseKeyPEM, parseKey} {
				if key, err := parse(data); err == nil {
					checkKey(t, key)
				}
			}
			checkPublic(t, data)
			if secret, err := unmarshal[tpm2.TPM2BEncryptedSecret](data); err == nil && !bytes.Equal(tpm2.Marshal(secret), data) {
				t.Errorf("%x is parsed as the secret %x", data, secret.Buffer)
			}
		})
	})
}

func checkKey(t *testing.T, key *keyFile) {
	_, _ = policyOf(key)
	_, _ = unmarshal[tpm2.TPM2BPrivate](key.private)
	checkPublic(t, key.public)
	if key.signed || key.rsaParent || key.secret != nil {
		return // marshal does not write these fields
	}
	text, err := key.marshal()
	if err != nil {
		t.Fatalf("%+v: %v", key, err)
	}
	if again, err := parseKeyPEM(text); err != nil || !reflect.DeepEqual(again, key) {
		t.Errorf("%+v is parsed again as %+v, error %v", key, again, err)
	}
}

func checkPublic(t *testing.T, data []byte) {
	area, err := parsePublic(data)
	if err != nil {
		return
	}
	if again := tpm2.Marshal(tpm2.New2B(area)); !bytes.Equal(again, data) {
		t.Errorf("%x is marshaled as %x", data, again)
	}
	o, err := signingKey(area)
	if err != nil {
		return
	}
	if _, err := x509.MarshalPKIXPublicKey(o.pub); err != nil {
		t.Errorf("public key: %v", err)
	}
	for _, padding := range algorithms.Keys() {
		for _, hash := range hashes.Keys() {
			for _, salt := range []int{0, hash.Size()} {
				_, _ = o.operation(signer.Mechanism{Padding: padding, Hash: hash, SaltLen: salt}, make([]byte, hash.Size()))
			}
		}
	}
	_ = o.scheme.String()
}

// FuzzParsePCRs parses its input as a PCR selection and as the parameters of
// TPM2_PolicyPCR.
func FuzzParsePCRs(f *testing.F) {
	selection := tpm2.Marshal(tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
		selectPCRs(tpm2.TPMAlgSHA256, []uint{0, 7}), selectPCRs(tpm2.TPMAlgSHA1, []uint{23}),
	}})
	digest := tpm2.Marshal(tpm2.TPM2BDigest{Buffer: make([]byte, 32)})
	for _, s := range []string{
		"sha256:0,7", "sha256:0,7+sha384:1", "sha1:23", "sha512:", "sha256:24", "sha256:0+sha256:1", "+", ":", "sha256:-1", "sha256:0x1", "sha3_256:1",
		string(digest) + string(selection), string(selection) + string(digest), "\x00\x00\x00\x00\x00\x00", "\xff\xff\xff\xff",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		limitMemory(t, len(s), func() {
			if banks, err := ParsePCRs(s); err == nil {
				checkSelection(t, s, banks)
			}
			p, err := parsePCRs([]byte(s))
			if err != nil {
				return
			}
			digest, selection := string(tpm2.Marshal(p.PcrDigest)), string(tpm2.Marshal(p.Pcrs))
			if s != digest+selection && s != selection+digest {
				t.Errorf("%x is parsed as %x and %x", s, digest, selection)
			}
		})
	})
}

func checkSelection(t *testing.T, s string, selected []PCRs) {
	var parts []string
	for _, p := range selected {
		var numbers []string
		for _, n := range p.Numbers {
			if n >= pcrCount {
				t.Errorf("%q: PCR %d", s, n)
			}
			numbers = append(numbers, fmt.Sprint(n))
		}
		for _, bank := range banks {
			if bank.Value == p.Hash {
				parts = append(parts, bank.Key+":"+strings.Join(numbers, ","))
			}
		}
	}
	written := strings.Join(parts, "+")
	again, err := ParsePCRs(written)
	if err != nil || !reflect.DeepEqual(again, selected) {
		t.Errorf("%q is parsed as %+v, and %q as %+v, error %v", s, selected, written, again, err)
	}
}
