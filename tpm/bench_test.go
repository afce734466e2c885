package tpm

import (
	"context"
	"crypto"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
)

// oneConnection returns a dialer whose devices share one connection, so that
// bare commands and a Key can alternate. The devices are managed, so that a Key
// stays loaded. Closing one flushes all objects, as a resource manager does.
func oneConnection(b testing.TB, path string) (*device, dialer) {
	b.Helper()
	d, err := dial(b.Context(), path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.close() })
	return d, func(context.Context, string) (*device, error) {
		return &device{TPM: d.TPM, close: func() error { flushAll(d); return nil }, managed: true}, nil
	}
}

// signBare sends only TPM2_Sign.
func signBare(b *testing.B, l *loadedObject, alg tpm2.TPMAlgID, digest []byte) {
	b.Helper()
	_, err := tpm2.Sign{
		KeyHandle:  tpm2.AuthHandle{Handle: l.handle, Name: l.name, Auth: l.session},
		Digest:     tpm2.TPM2BDigest{Buffer: digest},
		InScheme:   tpm2.TPMTSigScheme{Scheme: alg, Details: tpm2.NewTPMUSigScheme(alg, &tpm2.TPMSSchemeHash{HashAlg: tpm2.TPMAlgSHA256})},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
	}.Execute(l)
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSign alternates between the bare command and a Key that stays
// loaded. It reports the throughput of the Key divided by that of the bare
// command.
func BenchmarkSign(b *testing.B) {
	emulator := newTPM(b)
	digest := sha256.Sum256([]byte("message"))
	secret := func(context.Context, keystore.Prompt) ([]byte, error) { return []byte("a password"), nil }
	for _, test := range []struct {
		name string
		kind keystore.KeyType
		alg  tpm2.TPMAlgID
		pin  keystore.PINFunc
	}{
		{"p256", keystore.P256, tpm2.TPMAlgECDSA, nil},
		{"p384", keystore.P384, tpm2.TPMAlgECDSA, nil},
		{"rsa2048", keystore.RSA2048, tpm2.TPMAlgRSASSA, nil},
		{"p256 with password", keystore.P256, tpm2.TPMAlgECDSA, secret},
		{"rsa2048 with password", keystore.RSA2048, tpm2.TPMAlgRSASSA, secret},
	} {
		b.Run(test.name, func(b *testing.B) {
			d, dialer := oneConnection(b, emulator.Path)
			pem, err := createKey(b.Context(), CreateConfig{PIN: test.pin}, test.kind, dialer)
			if err != nil {
				b.Fatal(err)
			}
			k, err := open(b.Context(), Config{PEM: pem, PIN: test.pin}, dialer)
			if err != nil {
				b.Fatal(err)
			}
			defer k.Close()
			// The first command with a protected password must be sent twice.
			if _, err := k.Sign(nil, digest[:], crypto.SHA256); err != nil {
				b.Fatal(err)
			}
			bare, err := k.load(d) // the same key again, with a separate session
			if err != nil {
				b.Fatal(err)
			}
			defer bare.flush(nil)
			var floor, whole time.Duration
			for b.Loop() {
				begin := time.Now()
				signBare(b, bare, test.alg, digest[:])
				middle := time.Now()
				if _, err := k.Sign(nil, digest[:], crypto.SHA256); err != nil {
					b.Fatal(err)
				}
				floor += middle.Sub(begin)
				whole += time.Since(middle)
			}
			b.ReportMetric(0, "ns/op") // not meaningful for the pair
			b.ReportMetric(float64(floor.Microseconds())/float64(b.N), "bare-µs")
			b.ReportMetric(float64(whole.Microseconds())/float64(b.N), "key-µs")
			b.ReportMetric(float64(floor)/float64(whole), "throughput")
		})
	}
}

// BenchmarkOneShot alternates between opening a key file, signing once and
// closing it, and the necessary bare commands.
func BenchmarkOneShot(b *testing.B) {
	emulator := newTPM(b)
	digest := sha256.Sum256([]byte("message"))
	d, dialer := oneConnection(b, emulator.Path)
	unmanaged := func(context.Context, string) (*device, error) {
		return &device{TPM: d.TPM, close: func() error { return nil }}, nil
	}
	pem, err := createKey(b.Context(), CreateConfig{}, keystore.P256, dialer)
	if err != nil {
		b.Fatal(err)
	}
	f, err := parseKeyPEM(pem)
	if err != nil {
		b.Fatal(err)
	}
	private, err := unmarshal[tpm2.TPM2BPrivate](f.private)
	if err != nil {
		b.Fatal(err)
	}
	flush := func(h tpm2.TPMHandle) {
		if _, err := (tpm2.FlushContext{FlushHandle: h}).Execute(d); err != nil {
			b.Fatal(err)
		}
	}
	var floor, whole time.Duration
	for b.Loop() {
		begin := time.Now()
		primary, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(primaryTemplate(false))}.Execute(d)
		if err != nil {
			b.Fatal(err)
		}
		key, err := tpm2.Load{
			ParentHandle: tpm2.NamedHandle{Handle: primary.ObjectHandle, Name: primary.Name},
			InPrivate:    *private, InPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](f.public[2:]),
		}.Execute(d)
		if err != nil {
			b.Fatal(err)
		}
		flush(primary.ObjectHandle)
		signBare(b, &loadedObject{device: d, handle: key.ObjectHandle, name: key.Name, session: tpm2.PasswordAuth(nil)}, tpm2.TPMAlgECDSA, digest[:])
		flush(key.ObjectHandle)

		middle := time.Now()
		k, err := open(b.Context(), Config{PEM: pem}, unmanaged)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := k.Sign(nil, digest[:], crypto.SHA256); err != nil {
			b.Fatal(err)
		}
		if err := k.Close(); err != nil {
			b.Fatal(err)
		}
		floor += middle.Sub(begin)
		whole += time.Since(middle)
	}
	b.ReportMetric(0, "ns/op") // not meaningful for the pair
	b.ReportMetric(float64(floor.Microseconds())/float64(b.N), "bare-µs")
	b.ReportMetric(float64(whole.Microseconds())/float64(b.N), "whole-µs")
	b.ReportMetric(float64(whole)/float64(floor), "whole/bare")
}
