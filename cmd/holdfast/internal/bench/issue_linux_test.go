//go:build cgo

package bench

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// tokenKey generates a P-256 key in a new token.
func tokenKey(b *testing.B) keystore.Key {
	b.Helper()
	uri, err := pkcs11.ParseURI(pkcs11test.New(b).Token(b))
	if err != nil {
		b.Fatal(err)
	}
	uri.Object = "ca"
	ref, err := keystore.ParseRef(uri.String())
	if err != nil {
		b.Fatal(err)
	}
	call := keystore.Call{Options: keystore.Options{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(pkcs11test.PIN), nil }}}
	key, err := pkcs11.Backend{}.Generate(b.Context(), ref, keystore.KeySpec{Type: keystore.P256}, call)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { key.Close() })
	return key
}

// BenchmarkIssue compares how many certificates a CA with a key in SoftHSM issues
// with how many signatures the key makes, by one and several goroutines, with
// and without flushing the files to disk. All take turns in each round. It also
// reports the CPU time of one, in microseconds.
func BenchmarkIssue(b *testing.B) {
	key := tokenKey(b)
	digest := sha256.Sum256(nil)
	sign := func() error {
		_, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
		return err
	}
	public := signertest.Key(b, "p256").Public()
	root := selfSigned(b, key)
	notBefore, notAfter := pki.Validity(root, time.Now(), time.Hour)
	template := pki.Template{Profile: pki.Client, Names: pki.CommonName("app"), PublicKey: public, NotBefore: notBefore, NotAfter: notAfter}
	// The floor of a certificate: one that is not recorded. crypto/x509 verifies
	// its signature.
	create := func() (err error) {
		t := template
		if t.Serial, err = pki.NewSerial(rand.Reader); err == nil {
			_, err = pki.Issue(rand.Reader, pki.Issuer{Certificate: root, Key: key}, t)
		}
		return err
	}
	issue := func(name string, noSync bool) func() error {
		ca, err := authority.Create(filepath.Join(b.TempDir(), name), []*x509.Certificate{root}, authority.Options{NoSync: noSync})
		if err != nil {
			b.Fatal(err)
		}
		return func() error {
			_, err := ca.Issue(b.Context(), key, template, "")
			return err
		}
	}
	noSync, synced := issue("nosync", true), issue("sync", false)
	const each = 200
	kinds := []struct {
		name       string
		f          func() error
		goroutines int
	}{
		{"sign-1", sign, 1}, {"sign-2", sign, 2},
		{"create-1", create, 1}, {"create-2", create, 2},
		{"nosync-1", noSync, 1}, {"nosync-2", noSync, 2}, {"nosync-4", noSync, 4},
		{"sync-1", synced, 1}, {"sync-4", synced, 4},
	}
	rates, times := make(map[string][]float64), make(map[string][]float64)
	for b.Loop() {
		for _, k := range kinds {
			before := ownCPU(b)
			rates[k.name] = append(rates[k.name], rate(b, k.f, k.goroutines, each))
			times[k.name] = append(times[k.name], (ownCPU(b)-before)*1e6/float64(k.goroutines*each))
		}
	}
	for _, k := range kinds {
		b.ReportMetric(median(rates[k.name]), k.name+"/s")
		b.ReportMetric(median(times[k.name]), k.name+"-cpu-us")
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// ownCPU returns the CPU time of this process in seconds.
func ownCPU(b *testing.B) float64 {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

// rate returns how often per second goroutines call f, which each calls n times.
func rate(b *testing.B, f func() error, goroutines, n int) float64 {
	b.Helper()
	var all sync.WaitGroup
	start := time.Now()
	for range goroutines {
		all.Go(func() {
			for range n {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return float64(goroutines*n) / time.Since(start).Seconds()
}

// selfSigned returns the certificate of a CA with the key.
func selfSigned(b *testing.B, key signer.Signer) *x509.Certificate {
	b.Helper()
	serial, err := pki.NewSerial(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	notBefore, notAfter := pki.Validity(nil, time.Now(), pki.Root.Lifetime)
	root, err := pki.SelfSign(rand.Reader, key, pki.Template{Profile: pki.Root, Names: pki.CommonName("CA"), Serial: serial, NotBefore: notBefore, NotAfter: notAfter})
	if err != nil {
		b.Fatal(err)
	}
	return root
}
