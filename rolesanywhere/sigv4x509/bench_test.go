package sigv4x509_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// BenchmarkSign compares a signed request with a bare signature by the same
// key. It measures both alternately, so that changes in the machine's speed
// affect both equally. It reports the ratio of their times.
func BenchmarkSign(b *testing.B) {
	body := []byte(`{"durationSeconds":3600}`)
	digest := sha256.Sum256(body)
	ca := signertest.NewCA(b, "root").Intermediate(b, "intermediate")
	for _, kind := range []string{"p256", "p384", "rsa2048"} {
		b.Run(kind, func(b *testing.B) {
			key := signertest.Key(b, kind)
			chain := []*x509.Certificate{ca.Issue(b, key, nil), ca.Cert}
			r, err := http.NewRequest(http.MethodPost, "https://rolesanywhere.us-east-1.amazonaws.com/sessions?roleArn=x", nil)
			if err != nil {
				b.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			now := time.Now()
			var raw, whole time.Duration
			for b.Loop() {
				begin := time.Now()
				if _, err := key.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
					b.Fatal(err)
				}
				middle := time.Now()
				if err := sigv4x509.Sign(r, body, key, chain, "us-east-1", now); err != nil {
					b.Fatal(err)
				}
				raw, whole = raw+middle.Sub(begin), whole+time.Since(middle)
			}
			b.ReportMetric(0, "ns/op") // meaningless for the two measurements together
			n := float64(b.N)
			b.ReportMetric(float64(raw.Microseconds())/n, "raw-µs")
			b.ReportMetric(float64(whole.Microseconds())/n, "request-µs")
			b.ReportMetric(float64(whole)/float64(raw), "request/raw")
		})
	}
}
