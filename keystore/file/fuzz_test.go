package file

import (
	"bytes"
	"crypto/x509/pkix"
	"errors"
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
	return c.pfx != nil && isExpensivePFX(c.pfx) || slices.ContainsFunc(c.keys, func(k keyPart) bool { return isExpensiveKey(k.der) })
}

func isExpensivePFX(der []byte) bool {
	_, err := readPFX(der, fuzzWork)
	return errors.Is(err, errPFXTooMuch)
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
	for _, k := range knownMLDSA(f) {
		for _, data := range k.forms(f) {
			f.Add(data)
		}
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
			password := func() (passwords, error) { return passwords{[]byte("x")}, nil }
			keys, certs, err := decodePFX(t.Context(), der, password, true)
			encrypted := func(k keyPart) bool { return !k.bare }
			if err != nil && (slices.ContainsFunc(keys, encrypted) || len(certs) > 0) || len(keys) > maxKeys {
				t.Errorf("%d keys and %d certificates with error %v", len(keys), len(certs), err)
			}
		})
	})
}

// FuzzDER checks that a second conversion changes nothing.
func FuzzDER(f *testing.F) {
	for _, data := range formats(f) {
		f.Add(data)
	}
	f.Add([]byte{0x30, 0x80, 0x24, 0x80, 4, 1, 'a', 4, 1, 'b', 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		inTime(t, func() {
			der, rest, err := toDER(data)
			if err != nil {
				return
			}
			again, none, err := toDER(der)
			if err != nil || !bytes.Equal(again, der) || len(none) > 0 || len(rest) > len(data)-2 {
				t.Errorf("%x becomes %x, and then %x with error %v", data, der, again, err)
			}
		})
	})
}

func FuzzUnwrap(f *testing.F) {
	for _, data := range formats(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		inTime(t, func() {
			text, _, err := unwrap(data)
			if err != nil {
				return
			}
			if again, _, err := unwrap(text); err != nil || !bytes.Equal(again, text) {
				t.Errorf("%q becomes %q, and then %q with error %v", data, text, again, err)
			}
		})
	})
}
