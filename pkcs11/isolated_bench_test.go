//go:build linux && cgo

package pkcs11_test

import (
	"crypto"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// BenchmarkIsolated takes turns between C_SignInit and C_Sign, a Key in this process and
// a Key in the helper process, so that changes in the speed of the machine affect all.
// It reports the throughput of both Keys divided by that of the direct calls, and of the
// isolated one by that of the other: medians of the rounds. "slow" is a module whose
// C_Sign takes 2 ms, without a direct call.
func BenchmarkIsolated(b *testing.B) {
	hsm := softHSM(b)
	token := hsm.Token(b)
	pkcs11test.UseHelper(b)
	slow := pkcs11test.FaultModule(b, signertest.Require(b, "cc", "cc"), b.TempDir())
	rules := filepath.Join(b.TempDir(), "rules")
	if err := os.WriteFile(rules, []byte("1 C_Sign 1 0 sleep 2000\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	b.Setenv("FAULT_MODULE", hsm.Module)
	b.Setenv("FAULT_RULES", rules)
	digest := sha256.Sum256([]byte("message"))
	for _, kind := range []keystore.KeyType{keystore.P256, keystore.RSA2048} {
		r := ref(b, token, "object="+string(kind))
		made, err := pkcs11.Backend{}.Generate(b.Context(), r, keystore.KeySpec{Type: kind}, withPIN(pkcs11test.PIN))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = made.Close() }) // its login is also that of the direct calls
		open := func(b *testing.B, module, isolation string) func(int) {
			u, err := pkcs11.ParseURI(r.String())
			if err != nil {
				b.Fatal(err)
			}
			u.ModulePath, u.Isolation = module, isolation
			key, err := pkcs11.Open(b.Context(), pkcs11.Config{URI: u, PIN: withPIN(pkcs11test.PIN).PIN})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := key.Close(); err != nil {
					b.Error(err)
				}
			})
			return func(int) {
				if _, err := key.Sign(nil, digest[:], crypto.SHA256); err != nil {
					b.Error(err)
				}
			}
		}
		raw := newRawKey(b, hsm.Module, string(kind), kind == keystore.P256)
		direct := func(worker int) { raw.sign(b, worker, digest[:]) }
		for _, workers := range []int{1, 8} {
			for name, module := range map[string]string{"SoftHSM": hsm.Module, "2ms": slow} {
				b.Run(fmt.Sprintf("%s/%s/%d", kind, name, workers), func(b *testing.B) {
					names := []string{"raw", "here", "isolated"}
					ways := []func(int){direct, open(b, module, pkcs11.IsolationOff), open(b, module, pkcs11.IsolationOn)}
					if strings.HasSuffix(module, "fault.so") {
						names, ways = names[1:], ways[1:]
					}
					takeTurns(b, workers, names, ways)
				})
			}
		}
	}
}

// takeTurns measures the throughput of some ways to sign.
func takeTurns(b *testing.B, workers int, names []string, ways []func(int)) {
	const batch = 80
	measure := func(sign func(int)) time.Duration {
		begin := time.Now()
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for range batch / workers {
					sign(w)
				}
			})
		}
		wg.Wait()
		return time.Since(begin)
	}
	for _, sign := range ways {
		measure(sign) // opens the sessions
	}
	sums := make([]time.Duration, len(ways))
	ratios := make(map[string][]float64)
	for b.Loop() {
		took := make([]time.Duration, len(ways))
		for i := range 2 * len(ways) { // in both orders, because the order affects the result
			way := min(i, 2*len(ways)-1-i)
			took[way] += measure(ways[way])
		}
		for i := range ways {
			sums[i] += took[i]
			for j := range i {
				name := names[i] + "/" + names[j]
				ratios[name] = append(ratios[name], float64(took[j])/float64(took[i]))
			}
		}
	}
	b.ReportMetric(0, "ns/op") // not meaningful for several ways
	for i, name := range names {
		b.ReportMetric(float64(2*b.N*batch)/sums[i].Seconds(), name+"/s")
	}
	for name, all := range ratios {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], name)
	}
}
