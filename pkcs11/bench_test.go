//go:build cgo

package pkcs11_test

import (
	"crypto"
	"crypto/sha256"
	"slices"
	"sync"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
)

// BenchmarkSign alternates between signatures with a Key and a loop over
// C_SignInit and C_Sign, so that changes in the speed of the machine affect
// both. It reports the throughput of the Key divided by the throughput of the
// loop: the median of the pairs, which is robust against stalls.
func BenchmarkSign(b *testing.B) {
	hsm := softHSM(b)
	token := hsm.Token(b)
	for _, kind := range []keystore.KeyType{keystore.RSA2048, keystore.P256} {
		r := ref(b, token, "object="+string(kind))
		key, err := pkcs11.Backend{}.Generate(b.Context(), r, keystore.KeySpec{Type: kind}, withPIN(pkcs11test.PIN))
		if err != nil {
			b.Fatal(err)
		}
		raw := newRawKey(b, hsm.Module, string(kind), kind == keystore.P256)
		for _, workers := range []int{1, 2} {
			b.Run(string(kind)+"/"+map[int]string{1: "1session", 2: "2sessions"}[workers], func(b *testing.B) {
				digest := sha256.Sum256([]byte("message"))
				through := func(int) {
					if _, err := key.Sign(nil, digest[:], crypto.SHA256); err != nil {
						b.Error(err)
					}
				}
				floor := func(worker int) { raw.sign(b, worker, digest[:]) }
				const batch = 100
				measure := func(sign func(int)) time.Duration {
					begin := time.Now()
					var wg sync.WaitGroup
					for w := range workers {
						wg.Go(func() {
							for range batch {
								sign(w)
							}
						})
					}
					wg.Wait()
					return time.Since(begin)
				}
				measure(through)
				measure(floor) // warm up both
				var a, f time.Duration
				var ratios []float64
				for b.Loop() {
					// In both orders, because the order affects the result.
					k1, r1, r2, k2 := measure(through), measure(floor), measure(floor), measure(through)
					a, f = a+k1+k2, f+r1+r2
					ratios = append(ratios, float64(r1+r2)/float64(k1+k2))
				}
				slices.Sort(ratios)
				n := float64(2 * b.N * batch * workers)
				b.ReportMetric(0, "ns/op") // not meaningful for the pair
				b.ReportMetric(n/f.Seconds(), "raw/s")
				b.ReportMetric(n/a.Seconds(), "key/s")
				b.ReportMetric(ratios[len(ratios)/2], "key/raw")
			})
		}
		if err := key.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// A rawKey signs with bare Cryptoki calls. It has a session for each worker.
type rawKey struct {
	ctx       *p11.Ctx
	sessions  []p11.SessionHandle
	object    p11.ObjectHandle
	mechanism []*p11.Mechanism
}

const rawSessions = 8

func newRawKey(b *testing.B, module, label string, ecdsa bool) *rawKey {
	b.Helper()
	k := &rawKey{ctx: p11.New(module)}
	if err := k.ctx.Initialize(); err != nil && err != p11.Error(p11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		b.Fatal(err)
	}
	slots, err := k.ctx.GetSlotList(true)
	if err != nil {
		b.Fatal(err)
	}
	k.mechanism = []*p11.Mechanism{p11.NewMechanism(p11.CKM_RSA_PKCS, nil)}
	if ecdsa {
		k.mechanism = []*p11.Mechanism{p11.NewMechanism(p11.CKM_ECDSA, nil)}
	}
	template := []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PRIVATE_KEY), p11.NewAttribute(p11.CKA_LABEL, label)}
	for _, slot := range slots {
		for range rawSessions {
			s, err := k.ctx.OpenSession(slot, p11.CKF_SERIAL_SESSION)
			if err == p11.Error(p11.CKR_TOKEN_NOT_RECOGNIZED) {
				break // the free slot for a new token
			}
			if err != nil {
				b.Fatal(err)
			}
			if err := k.ctx.FindObjectsInit(s, template); err != nil {
				b.Fatal(err)
			}
			found, _, err := k.ctx.FindObjects(s, 1)
			if err != nil {
				b.Fatal(err)
			}
			if err := k.ctx.FindObjectsFinal(s); err != nil {
				b.Fatal(err)
			}
			if len(found) == 0 {
				break
			}
			k.object = found[0]
			k.sessions = append(k.sessions, s)
		}
	}
	if len(k.sessions) != rawSessions {
		b.Fatalf("%d sessions for the raw key", len(k.sessions))
	}
	return k
}

func (k *rawKey) sign(b *testing.B, worker int, digest []byte) {
	s := k.sessions[worker]
	if err := k.ctx.SignInit(s, k.mechanism, k.object); err != nil {
		b.Error(err)
	}
	if _, err := k.ctx.Sign(s, digest); err != nil {
		b.Error(err)
	}
}
