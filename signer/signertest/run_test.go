package signertest

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"strings"
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

func TestRunMessageFake(t *testing.T) {
	for _, kind := range KeyKinds() {
		t.Run(kind, func(t *testing.T) {
			RunMessages(t, func(t *testing.T) signer.Signer { return &MessageFake{Fake{Key: Key(t, kind)}} })
		})
	}
}

// RunMessages finds a key that signs digests, too, and one that signs no messages.
func TestRunMessagesFindsFaults(t *testing.T) {
	for _, test := range []struct {
		name string
		s    signer.Signer
		want string
	}{
		{"signs digests", signer.FromKey(Key(t, "p256")), "Sign of a digest: error <nil>, want errors.ErrUnsupported"},
		{"has no SignMessage", &Fake{Key: Key(t, "p256")}, "the key has no SignMessage"},
		{"accepts no options", nilAccepter{&MessageFake{Fake{Key: Key(t, "p256")}}}, "SignMessage: nil options: signed"},
	} {
		err := errors.Join(checkSign(t, test.s, messages), checkRefuse(t, test.s, messages))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
}

// A nilAccepter signs without options.
type nilAccepter struct{ *MessageFake }

func (n nilAccepter) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts == nil {
		opts = crypto.SHA256
	}
	return n.MessageFake.SignMessage(rand, message, opts)
}
