package signertest

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
)

func TestRunFake(t *testing.T) {
	for _, kind := range KeyKinds() {
		t.Run(kind, func(t *testing.T) {
			ca := NewCA(t, "root").Intermediate(t, "outer").Intermediate(t, "inner")
			Run(t, func(t *testing.T) signer.Signer {
				key := Key(t, kind)
				return &Fake{Key: key, Certificates: append([]*x509.Certificate{ca.Issue(t, key, nil)}, ca.Chain()...)}
			})
		})
	}
}

func TestRunLimitedFake(t *testing.T) {
	tests := []struct {
		name, kind string
		schemes    []tls.SignatureScheme
	}{
		{"RSA without PSS", "rsa2048", []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PKCS1WithSHA512}},
		{"RSA with PSS only", "rsa2048", []tls.SignatureScheme{tls.PSSWithSHA256}},
		{"P-384 with SHA-384 only", "p384", []tls.SignatureScheme{tls.ECDSAWithP384AndSHA384}},
		{"P-384 with SHA-256 only", "p384", []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}},
		{"Ed25519", "ed25519", []tls.SignatureScheme{tls.Ed25519}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			Run(t, func(t *testing.T) signer.Signer {
				return &LimitedFake{Fake: Fake{Key: Key(t, test.kind)}, Schemes: test.schemes}
			})
		})
	}
}
