package sigv4x509_test

import (
	"crypto"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/mldsa"
	"filippo.io/mldsa/mldsacrypto"

	"github.com/holdfast-dev/holdfast/rolesanywhere/sigv4x509"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var mldsaSets = []mldsa.Parameters{mldsa.MLDSA44(), mldsa.MLDSA65(), mldsa.MLDSA87()}

// newMLDSA returns a key and its certificate by OpenSSL, in a chain.
func newMLDSA(t *testing.T, set mldsa.Parameters) (*mldsa.PrivateKey, []*x509.Certificate) {
	t.Helper()
	dir := t.TempDir()
	signertest.IssueMLDSA(t, dir, set.String(), "seed-only")
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(data)
		return block.Bytes
	}
	var pkcs8 struct {
		Version   int
		Algorithm asn1.RawValue
		Key       []byte
	}
	if _, err := asn1.Unmarshal(read("key.pem"), &pkcs8); err != nil {
		t.Fatal(err)
	}
	key, err := mldsa.NewPrivateKey(set, pkcs8.Key[2:]) // after the tag and the length
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(read("cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	issuer := signertest.NewCA(t, "issuer")
	return key, []*x509.Certificate{leaf, issuer.Cert}
}

// A messageKey has a public key and signs messages with a function.
type messageKey struct {
	pub  crypto.PublicKey
	sign func(message []byte) ([]byte, error)
}

func (k messageKey) Public() crypto.PublicKey { return k.pub }

func (k messageKey) Sign(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	return k.sign(message)
}

// representative returns μ of a message that is already in the form M' (FIPS 204,
// algorithms 2, 4 and 7).
func representative(key *mldsa.PrivateKey, formatted ...[]byte) []byte {
	hash := make([]byte, 64)
	h := sha3.NewSHAKE256()
	h.Write(key.PublicKey().Bytes())
	h.Read(hash)
	h.Reset()
	h.Write(hash)
	for _, part := range formatted {
		h.Write(part)
	}
	mu := make([]byte, 64)
	h.Read(mu)
	return mu
}

// oidSHA512 is the object identifier that HashML-DSA signs (FIPS 204, algorithm 4).
var oidSHA512 = []byte{0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03}

// Only the string to sign itself, with the empty context, is signed.
func TestMLDSASignatures(t *testing.T) {
	ecKey := signertest.Key(t, "p256")
	for i, set := range mldsaSets {
		key, chain := newMLDSA(t, set)
		otherKey, otherChain := newMLDSA(t, mldsaSets[(i+1)%len(mldsaSets)])
		for _, test := range []struct {
			name string
			sign func(message []byte) ([]byte, error)
			want error
		}{
			{"hedged", func(m []byte) ([]byte, error) { return key.Sign(nil, m, crypto.Hash(0)) }, nil},
			{"deterministic", func(m []byte) ([]byte, error) { return key.SignDeterministic(m, nil) }, nil},
			{"external μ", func(m []byte) ([]byte, error) {
				return key.Sign(nil, representative(key, []byte{0, 0}, m), mldsacrypto.MLDSAMu)
			}, nil},
			{"context", func(m []byte) ([]byte, error) { return key.Sign(nil, m, &mldsa.Options{Context: "aws"}) }, sigv4x509.ErrSignature},
			{"HashML-DSA", func(m []byte) ([]byte, error) {
				digest := sha512.Sum512(m)
				return key.Sign(nil, representative(key, []byte{1, 0}, oidSHA512, digest[:]), mldsacrypto.MLDSAMu)
			}, sigv4x509.ErrSignature},
			{"SHA-512", func(m []byte) ([]byte, error) {
				digest := sha512.Sum512(m)
				return key.Sign(nil, digest[:], nil)
			}, sigv4x509.ErrSignature},
			{"SHA-256", func(m []byte) ([]byte, error) {
				digest := sha256.Sum256(m)
				return key.Sign(nil, digest[:], nil)
			}, sigv4x509.ErrSignature},
			{"another string", func(m []byte) ([]byte, error) { return key.Sign(nil, append(m, '\n'), nil) }, sigv4x509.ErrSignature},
			{"another set", func(m []byte) ([]byte, error) { return otherKey.Sign(nil, m, nil) }, sigv4x509.ErrSignature},
			{"ECDSA", func(m []byte) ([]byte, error) {
				digest := sha256.Sum256(m)
				return ecKey.Sign(nil, digest[:], crypto.SHA256)
			}, sigv4x509.ErrSignature},
		} {
			r := newRequest(t)
			sign(t, r, messageKey{key.Public(), test.sign}, chain)
			if _, err := sigv4x509.Verify(r, body); !errors.Is(err, test.want) {
				t.Errorf("%v, %s: error %v, want %v", set, test.name, err, test.want)
			}
		}

		signature := func(change func([]byte) []byte) func(*http.Request) {
			return func(r *http.Request) {
				old := field(t, r, "Signature")
				b, err := hex.DecodeString(old)
				if err != nil {
					t.Fatal(err)
				}
				replace(r, "Signature="+old, "Signature="+hex.EncodeToString(change(b)))
			}
		}
		altered := func(i int) func(*http.Request) {
			return signature(func(b []byte) []byte { b[(i+len(b))%len(b)] ^= 1; return b })
		}
		for name, test := range map[string]struct {
			change func(*http.Request)
			want   error
		}{
			"another certificate": {func(r *http.Request) {
				sign(t, r, otherKey, otherChain)
				stolen := r.Header.Get("Authorization")
				sign(t, r, key, chain)
				_, signature, _ := strings.Cut(stolen, "Signature=")
				replace(r, field(t, r, "Signature"), signature)
			}, sigv4x509.ErrSignature},
			"truncated":         {signature(func(b []byte) []byte { return b[:len(b)-1] }), sigv4x509.ErrSignature},
			"longer":            {signature(func(b []byte) []byte { return append(b, 0) }), sigv4x509.ErrSignature},
			"one byte":          {signature(func(b []byte) []byte { return b[:1] }), sigv4x509.ErrSignature},
			"altered hash":      {altered(0), sigv4x509.ErrSignature},
			"altered":           {altered(1000), sigv4x509.ErrSignature},
			"altered hints":     {altered(-1), sigv4x509.ErrSignature},
			"named ECDSA":       {func(r *http.Request) { replace(r, sigv4x509.MLDSA, sigv4x509.ECDSA) }, sigv4x509.ErrMalformed},
			"named RSA":         {func(r *http.Request) { replace(r, sigv4x509.MLDSA, sigv4x509.RSA) }, sigv4x509.ErrMalformed},
			"named with a hash": {func(r *http.Request) { replace(r, sigv4x509.MLDSA, sigv4x509.MLDSA+"-SHA256") }, sigv4x509.ErrMalformed},
			"ECDSA named MLDSA": {func(r *http.Request) {
				sign(t, r, ecKey, newChain(t, ecKey, 1))
				replace(r, sigv4x509.ECDSA, sigv4x509.MLDSA)
			}, sigv4x509.ErrMalformed},
		} {
			r := newRequest(t)
			sign(t, r, key, chain)
			test.change(r)
			if _, err := sigv4x509.Verify(r, body); !errors.Is(err, test.want) {
				t.Errorf("%v, %s: error %v, want %v", set, name, err, test.want)
			}
		}
	}
}

func replace(r *http.Request, old, with string) {
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, with, 1))
}

func TestMLDSARoundTrip(t *testing.T) {
	for _, set := range mldsaSets {
		key, chain := newMLDSA(t, set)
		r := newRequest(t)
		sign(t, r, key, chain)
		got, err := sigv4x509.Verify(r, body)
		if err != nil {
			t.Fatalf("%v: %v", set, err)
		}
		if got.Algorithm != sigv4x509.MLDSA || !got.Certificate.Equal(chain[0]) || len(got.Chain) != 1 {
			t.Errorf("%v: got %+v", set, got)
		}
		if b, err := hex.DecodeString(field(t, r, "Signature")); err != nil || len(b) != set.SignatureSize() {
			t.Errorf("%v: the signature has %d bytes, error %v", set, len(b), err)
		}
		// As Go 1.27 reads the certificate, its key has a type of which only another
		// one can be equal.
		read := *chain[0]
		read.PublicKey = key.Public()
		foreign := messageKey{foreignKey(key.PublicKey().Bytes()), func(m []byte) ([]byte, error) { return key.Sign(nil, m, nil) }}
		if err := sigv4x509.Sign(r, body, foreign, []*x509.Certificate{&read}, "eu-central-1", now); err != nil {
			t.Errorf("%v: a key of another package: %v", set, err)
		}
		other, _ := newMLDSA(t, set)
		if err := sigv4x509.Sign(r, body, other, chain, "eu-central-1", now); err == nil {
			t.Errorf("%v: the certificate is for another key, and there is no error", set)
		}
	}
}

// A foreignKey is a public key of another package.
type foreignKey string

func (k foreignKey) Bytes() []byte                 { return []byte(k) }
func (k foreignKey) Equal(x crypto.PublicKey) bool { return k == x }

func TestOpenSSLVerifiesMLDSA(t *testing.T) {
	openssl := signertest.OpenSSL35(t)
	for _, set := range mldsaSets {
		key, chain := newMLDSA(t, set)
		r := newRequest(t)
		sign(t, r, key, chain)
		signature, err := hex.DecodeString(field(t, r, "Signature"))
		if err != nil {
			t.Fatal(err)
		}
		der, err := signer.MarshalPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		verify := func(message string) error {
			for name, data := range map[string][]byte{
				"public.pem": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "signature": signature, "message": []byte(message),
			} {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), openssl, "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "public.pem", "-in", "message", "-sigfile", "signature")
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			t.Logf("openssl: %s", out)
			return err
		}
		message := stringToSign(t, r)
		if err := verify(message); err != nil {
			t.Errorf("%v: %v", set, err)
		}
		if err := verify(message + "\n"); err == nil {
			t.Errorf("%v: openssl accepts the signature for a different message", set)
		}
	}
}
