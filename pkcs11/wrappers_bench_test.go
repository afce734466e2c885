//go:build cgo

package pkcs11_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// BenchmarkWrappers compares SignContext and the wrappers of a Signer with Sign of the
// bare key. Each one takes turns with the bare key, in both orders, so that changes in
// the speed of the machine affect both. It reports the throughput of the wrapper divided
// by that of the bare key: the median of the rounds, which is robust against stalls.
func BenchmarkWrappers(b *testing.B) {
	token := softHSM(b).Token(b)
	key, err := pkcs11.Backend{}.Generate(b.Context(), ref(b, token, "object=wrapped"), keystore.KeySpec{Type: keystore.P256}, withPIN(pkcs11test.PIN))
	if err != nil {
		b.Fatal(err)
	}
	defer key.Close()
	for _, kind := range []struct {
		name string
		bare signer.Signer
	}{{"memory", signer.FromKey(signertest.Key(b, "p256"))}, {"SoftHSM", key}} {
		for _, callers := range []int{1, 4} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, callers), func(b *testing.B) { benchmarkWrappers(b, kind.bare, callers) })
		}
	}
}

// benchmarkWrappers signs in some goroutines at the same time. A signature that can be
// abandoned runs in a goroutine of its own; what it costs to wake another thread for it
// depends on whether all processors are in use.
func benchmarkWrappers(b *testing.B, bare signer.Signer, callers int) {
	certs := []*x509.Certificate{signertest.NewCA(b, "CA").Issue(b, bare, nil)}
	bound, err := signer.Bind(bare, certs, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	identity, err := rotate.New(b.Context(), rotate.Config{Open: func(context.Context) (signer.Signer, error) {
		return signer.WithContext(context.Background(), bound), nil
	}}) // which does not close it
	if err != nil {
		b.Fatal(err)
	}
	defer identity.Close()
	lease, err := identity.Acquire(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer lease.Close()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	deadline, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()
	digest := sha256.Sum256([]byte("message"))
	by := func(s signer.Signer) func() error {
		return func() error { _, err := s.Sign(rand.Reader, digest[:], crypto.SHA256); return err }
	}
	with := func(ctx context.Context) func() error {
		return func() error {
			_, err := signer.SignContext(ctx, bare, rand.Reader, digest[:], crypto.SHA256)
			return err
		}
	}
	for _, test := range []struct {
		name string
		sign func() error
	}{
		{"bare", by(bare)}, // the noise
		{"SignContext/background", with(context.Background())},
		{"SignContext/cancel", with(ctx)},
		{"SignContext/deadline", with(deadline)},
		{"WithContext", by(signer.WithContext(ctx, bare))},
		{"WithTimeout", by(signer.WithTimeout(context.Background(), bare, time.Hour))},
		{"WithTimeout/cancel", by(signer.WithTimeout(ctx, bare, time.Hour))},
		{"Bind", by(bound)},
		{"WithCertificates", by(signer.WithCertificates(bare, signer.Certificates{Chain: certs}))},
		{"lease", by(lease)},
		{"Identity.Signer", by(identity.Signer())},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			const batch = 100
			measure := func(sign func() error) time.Duration {
				begin := time.Now()
				var wg sync.WaitGroup
				for range callers {
					wg.Go(func() {
						for range batch / callers {
							if err := sign(); err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
				return time.Since(begin)
			}
			floor := by(bare)
			measure(floor)
			measure(test.sign) // warm up both
			var ratios []float64
			var sum time.Duration
			for b.Loop() {
				b1, w1, w2, b2 := measure(floor), measure(test.sign), measure(test.sign), measure(floor)
				ratios = append(ratios, float64(b1+b2)/float64(w1+w2))
				sum += b1 + b2
			}
			slices.Sort(ratios)
			b.ReportMetric(0, "ns/op") // not meaningful for the pair
			b.ReportMetric(float64(sum.Microseconds())/float64(2*batch*b.N), "bare-µs")
			b.ReportMetric(ratios[len(ratios)/2], "wrapper/bare")
		})
	}
}
