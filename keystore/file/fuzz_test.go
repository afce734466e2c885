package file

import (
	"crypto/x509/pkix"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
)

const (
	// fuzzWork bounds the work of a key derivation in an input of the
	// fuzzer, which should find other causes of long run times.
	fuzzWork = 10_000
	fuzzTime = 10 * time.Second
)

// isExpensive reports whether data requires more work than fuzzWork.
func isExpensive(data []byte) bool {
	c, err := parse(data)
	if err != nil {
		return false
	}
	return c.pfx != nil && isExpensivePFX(c.pfx) || slices.ContainsFunc(c.keys, isExpensiveKey)
}

func isExpensivePFX(der []byte) bool {
	budget := int64(fuzzWork)
	return checkPFX(der, &budget, 0, false) != nil
}

func isExpensiveKey(der []byte) bool {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	var params struct{ KDF, Scheme pkix.AlgorithmIdentifier }
	if unmarshal(der, &info) != nil || unmarshal(info.Algorithm.Parameters.FullBytes, &params) != nil {
		return false
	}
	var p pbkdf2Params
	var s scryptParams
	kdf := params.KDF.Parameters.FullBytes
	return unmarshal(kdf, &p) == nil && p.Iterations > fuzzWork ||
		unmarshal(kdf, &s) == nil && (max(s.N, s.R, s.P) > fuzzWork || s.N*s.R*s.P > fuzzWork)
}

// inTime runs f and reports an error if it takes longer than fuzzTime.
func inTime(t *testing.T, f func()) {
	start := time.Now()
	f()
	if d := time.Since(start); d > fuzzTime {
		t.Errorf("took %v", d)
	}
}

func FuzzOpen(f *testing.F) {
	for _, data := range formats(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if isExpensive(data) {
			return
		}
		inTime(t, func() {
			if s, err := open(t.Context(), data); err == nil {
				s.Close()
			}
			opts := keystore.Options{LookupEnv: func(string) (string, bool) { return string(data), true }}
			if s, err := keystore.New(Backend{}).Open(t.Context(), keystore.Ref{Scheme: keystore.SchemeEnv, Rest: "X"}, opts); err == nil {
				s.Close()
			}
			ref := keystore.Ref{Scheme: keystore.SchemeEnv, Rest: "X"}
			if certs, err := (Backend{}).Certificates(t.Context(), ref, keystore.Call{Options: opts}); err == nil && len(certs) == 0 {
				t.Error("neither a certificate nor an error")
			}
		})
	})
}

func FuzzPFX(f *testing.F) {
	for _, data := range formats(f) {
		if c, err := parse(data); err == nil && c.pfx != nil {
			f.Add(c.pfx)
		}
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if isExpensivePFX(der) {
			return
		}
		inTime(t, func() {
			password := func() ([]byte, error) { return []byte("x"), nil }
			key, certs, err := decodePFX(t.Context(), der, password)
			if err == nil && (key == nil || len(certs) == 0 || slices.Contains(certs, nil)) {
				t.Errorf("key %v and %d certificates without an error", key, len(certs))
			}
		})
	})
}
