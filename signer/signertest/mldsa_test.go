package signertest

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/signer"
)

// mldsaChain returns a key that OpenSSL made with the certificates of its issuers
// after its own. The root is the last.
func mldsaChain(t *testing.T) (crypto.Signer, []*x509.Certificate) {
	t.Helper()
	dir := t.TempDir()
	root := OpenSSLCA(t, dir, "root", "root", "ML-DSA-44")
	between := OpenSSLCA(t, dir, "root", "between", "ML-DSA-44")
	leaf := OpenSSLLeaf(t, dir, "between", "leaf", "ML-DSA-44", "-provparam", "ml-dsa.output_formats=priv-only")
	var info struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}
	var expanded []byte
	if _, err := asn1.Unmarshal(readPEM(t, filepath.Join(dir, "leaf-key.pem"), "PRIVATE KEY"), &info); err != nil {
		t.Fatal(err)
	}
	if _, err := asn1.Unmarshal(info.Key, &expanded); err != nil {
		t.Fatal(err)
	}
	key, err := mldsa.ParseExpanded(mldsa.ParametersFor(info.Algorithm.Algorithm), expanded)
	if err != nil {
		t.Fatal(err)
	}
	return key, []*x509.Certificate{leaf, between, root}
}

func TestRunMLDSA(t *testing.T) {
	key, chain := mldsaChain(t)
	for name, certs := range map[string][]*x509.Certificate{"chain": chain[:2], "no chain": nil} {
		t.Run(name, func(t *testing.T) {
			Run(t, func(*testing.T) signer.Signer { return &Fake{Key: key, Certificates: certs} })
		})
	}
}

func TestRunFindsFaultsMLDSA(t *testing.T) {
	key, chain := mldsaChain(t)
	other, _ := mldsaChain(t)
	signing := func(sign func(f *Fake, message []byte, opts crypto.SignerOpts) ([]byte, error)) func(*Fake) signer.Signer {
		return func(f *Fake) signer.Signer {
			return &broken{Fake: f, sign: func(message []byte, opts crypto.SignerOpts) ([]byte, error) {
				if f.Closes() > 0 {
					return nil, signer.ErrClosed
				}
				return sign(f, message, opts)
			}}
		}
	}
	chained := func(certs ...*x509.Certificate) func(*Fake) signer.Signer {
		return func(f *Fake) signer.Signer { return &Fake{Key: f.Key, Certificates: certs} }
	}
	for name, test := range map[string]struct {
		open   func(*Fake) signer.Signer
		checks []string // checks that must detect the fault
	}{
		"wrong signature": {signing(func(f *Fake, message []byte, opts crypto.SignerOpts) ([]byte, error) {
			signature, err := f.Sign(rand.Reader, message, opts)
			if err == nil {
				signature[100] ^= 1
			}
			return signature, err
		}), []string{"Sign", "Refuse", "Concurrent", "Close", "CloseWhileSigning"}},
		"signs a hash of the message": {signing(func(f *Fake, message []byte, opts crypto.SignerOpts) ([]byte, error) {
			return f.Sign(rand.Reader, digestOf(string(message), crypto.SHA512), opts)
		}), []string{"Sign"}},
		"ignores the options": {signing(func(f *Fake, message []byte, _ crypto.SignerOpts) ([]byte, error) {
			return f.Key.Sign(rand.Reader, message, nil)
		}), []string{"Refuse"}},
		"ignores a context": {signing(func(f *Fake, message []byte, opts crypto.SignerOpts) ([]byte, error) {
			if o, ok := opts.(*mldsaOptions); ok && o.Context != "" {
				opts = crypto.Hash(0)
			}
			return f.Sign(rand.Reader, message, opts)
		}), []string{"Refuse"}},
		"refuses options without a context": {signing(func(f *Fake, message []byte, opts crypto.SignerOpts) ([]byte, error) {
			if opts != crypto.Hash(0) {
				return nil, errors.New("broken")
			}
			return f.Sign(rand.Reader, message, opts)
		}), []string{"Sign"}},
		"another public key": {func(f *Fake) signer.Signer {
			return &broken{Fake: f, public: other.Public}
		}, []string{"Sign", "Chain"}},
		"chain with the root":      {chained(chain...), []string{"Chain"}},
		"chain with a gap":         {chained(chain[0], chain[2]), []string{"Chain"}},
		"chain in the wrong order": {chained(chain[1], chain[0]), []string{"Chain"}},
		"issuer is no CA":          {chained(chain[0], chain[0]), []string{"Chain"}},
	} {
		for _, checkName := range test.checks {
			i := slices.IndexFunc(checks, func(c check) bool { return c.name == checkName })
			if checks[i].run(t, test.open(&Fake{Key: key, Certificates: chain[:2]}), digests) == nil {
				t.Errorf("%s: check %s does not detect the fault", name, checkName)
			}
		}
	}
}

// If the standard library asks an ML-DSA key for a signature, its result counts.
func TestResultCountsIfAsked(t *testing.T) {
	key, chain := mldsaChain(t)
	s := &Fake{Key: key, Certificates: chain[:2]}
	failed := errors.New("failed")
	if err := ifAsked(s, func(signer.Signer) error { return failed }); err != nil {
		t.Errorf("not asked: %v", err)
	}
	if err := ifAsked(s, func(s signer.Signer) error {
		_, err := s.Sign(rand.Reader, nil, crypto.Hash(0))
		return errors.Join(failed, err)
	}); !errors.Is(err, failed) {
		t.Errorf("asked: %v", err)
	}
	if err := ifAsked(&Fake{Key: Key(t, "p256")}, func(signer.Signer) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("ECDSA: %v", err)
	}
}

// messenger is a Fake with a SignMessage of its own.
type messenger struct {
	*Fake
	signMessage func(message []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (m messenger) SignMessage(_ io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return m.signMessage(message, opts)
}

func TestRunFindsFaultsOfMessageSigners(t *testing.T) {
	for name, test := range map[string]struct {
		signMessage func(f *Fake) func(message []byte, opts crypto.SignerOpts) ([]byte, error)
		checks      []string
	}{
		"takes the message for a digest": {func(f *Fake) func([]byte, crypto.SignerOpts) ([]byte, error) {
			return func(message []byte, opts crypto.SignerOpts) ([]byte, error) {
				return f.Key.Sign(rand.Reader, message, opts)
			}
		}, []string{"Sign", "Close"}},
		"accepts nil options and signs after Close": {func(f *Fake) func([]byte, crypto.SignerOpts) ([]byte, error) {
			return func(message []byte, _ crypto.SignerOpts) ([]byte, error) {
				return crypto.SignMessage(f.Key, rand.Reader, message, crypto.SHA256)
			}
		}, []string{"Refuse", "Close"}},
	} {
		for _, checkName := range test.checks {
			i := slices.IndexFunc(checks, func(c check) bool { return c.name == checkName })
			f := &Fake{Key: Key(t, "p256")}
			if checks[i].run(t, messenger{f, test.signMessage(f)}, digests) == nil {
				t.Errorf("%s: check %s does not detect the fault", name, checkName)
			}
		}
	}
}

// TLS 1.2 has no ML-DSA, and only a key of ML-DSA is one.
func TestIsMLDSA(t *testing.T) {
	for _, kind := range KeyKinds() {
		if isMLDSA(Key(t, kind).Public()) {
			t.Error(kind)
		}
	}
	key, _ := mldsaChain(t)
	if pub := key.Public(); !isMLDSA(pub) || usableIn(tls.VersionTLS12, 0x0904, pub) || !usableIn(tls.VersionTLS13, 0x0904, pub) {
		t.Error("ML-DSA-44")
	}
}
