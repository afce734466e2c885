package signer_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	mathrand "math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/file"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// openMLDSA opens NAME-key.pem, which OpenSSL wrote.
func openMLDSA(t *testing.T, dir, name string) signer.Signer {
	t.Helper()
	s, err := keystore.New(file.Backend{}).Open(t.Context(), keystore.Ref{Scheme: keystore.SchemeFile, Rest: filepath.Join(dir, name+"-key.pem")}, keystore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A libraryKey has the methods of crypto/mldsa's PublicKey.
type libraryKey struct{ raw []byte }

func (k libraryKey) Bytes() []byte { return bytes.Clone(k.raw) }

func (k libraryKey) Equal(x crypto.PublicKey) bool {
	other, ok := x.(libraryKey)
	return ok && bytes.Equal(k.raw, other.raw)
}

func TestMLDSAKey(t *testing.T) {
	openssl := signertest.OpenSSL35(t)
	dir := t.TempDir()
	sets := []string{"ML-DSA-44", "ML-DSA-65", "ML-DSA-87"}
	var keys []signer.Signer
	for i, set := range sets {
		cert := signertest.OpenSSLLeaf(t, dir, set, set, set) // self-signed
		other := signertest.OpenSSLLeaf(t, dir, "other", "other", set)
		key := openMLDSA(t, dir, set)
		keys = append(keys, key)
		pub := signer.PublicKeyOf(cert)

		cmd := exec.Command(openssl, "pkey", "-in", set+"-key.pem", "-pubout", "-outform", "DER")
		cmd.Dir = dir
		spki, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(spki)
		raw := pub.(interface{ Bytes() []byte }).Bytes()
		same := map[string]crypto.PublicKey{"of the file": key.Public(), "of the certificate": pub, "of a library": libraryKey{raw}}
		for name, k := range same {
			if der, err := signer.MarshalPublicKey(k); err != nil || !bytes.Equal(der, spki) || !bytes.Equal(der, cert.RawSubjectPublicKeyInfo) {
				t.Errorf("%s, %s: MarshalPublicKey: error %v, or not that of OpenSSL", set, name, err)
			}
			if got := signer.Fingerprint(k); got != hex.EncodeToString(sum[:]) {
				t.Errorf("%s, %s: fingerprint %s, want %x", set, name, got, sum)
			}
			if got := signer.DescribeKey(k); got != set {
				t.Errorf("%s, %s: described as %s", set, name, got)
			}
			for name2, k2 := range same {
				if !signer.SamePublicKey(k, k2) {
					t.Errorf("%s: the key %s is not that %s", set, name, name2)
				}
			}
			for _, another := range []crypto.PublicKey{
				nil, "key", signer.PublicKeyOf(other), signertest.Key(t, "p256").Public(), signertest.Key(t, "rsa2048").Public(),
				signertest.Key(t, "ed25519").Public(), libraryKey{raw[1:]}, libraryKey{nil},
			} {
				if signer.SamePublicKey(k, another) || signer.SamePublicKey(another, k) {
					t.Errorf("%s: the key %s is %s", set, name, signer.DescribeKey(another))
				}
			}
		}
		if got := signer.DescribeKeyOf(cert); got != set {
			t.Errorf("a certificate with %s: %s", set, got)
		}
		damaged := *cert
		damaged.RawSubjectPublicKeyInfo = bytes.Replace(spki, []byte{3, 0x82}, []byte{4, 0x82}, 1) // no BIT STRING
		if signer.PublicKeyOf(&damaged) != nil {
			t.Errorf("%s: a damaged key is one", set)
		}
		short, err := asn1.Marshal(struct {
			Algorithm pkix.AlgorithmIdentifier
			Key       asn1.BitString
		}{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 17 + i}}, asn1.BitString{Bytes: raw[1:], BitLength: 8 * len(raw[1:])}})
		if err != nil {
			t.Fatal(err)
		}
		damaged.RawSubjectPublicKeyInfo = short
		if got := signer.DescribeKeyOf(&damaged); signer.PublicKeyOf(&damaged) != nil || got != set+" (damaged)" {
			t.Errorf("%s: a key that is too short is described as %s", set, got)
		}
		raw[5] ^= 1
		if signer.SamePublicKey(libraryKey{raw}, pub) || !signer.SamePublicKey(key.Public(), pub) {
			t.Errorf("%s: the key shares memory with its bytes, or differs from itself", set)
		}

		// Bind
		bound, err := signer.Bind(key, []*x509.Certificate{other, cert}, time.Now())
		if err != nil || !slices.Equal(bound.Chain(), []*x509.Certificate{cert}) {
			t.Errorf("%s: Bind: %v", set, err)
		}
		// Every version of Go has ML-DSA in crypto/x509 and crypto/tls, or in neither.
		if _, err := signer.TLSCertificate(bound); (err == nil) != (cert.PublicKey != nil) || err != nil && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: TLSCertificate: %v", set, err)
		}
		_, err = signer.Bind(key, []*x509.Certificate{other}, time.Now())
		if !errors.Is(err, signer.ErrMismatch) || !strings.Contains(err.Error(), "your key is "+set+" with the SHA-256 fingerprint "+signer.Fingerprint(pub)+" of the public key in DER;") ||
			!strings.Contains(err.Error(), "contains "+set+" with the fingerprint "+signer.Fingerprint(signer.PublicKeyOf(other))) {
			t.Errorf("%s: Bind to the certificate of another key: %v", set, err)
		}

		// Prove
		if err := signer.Prove(t.Context(), key, pub); err != nil {
			t.Errorf("%s: %v", set, err)
		}
		otherPub := signer.PublicKeyOf(other)
		if err := signer.Prove(t.Context(), key, otherPub); !errors.Is(err, signer.ErrMismatch) || !strings.Contains(err.Error(), signer.Fingerprint(otherPub)) {
			t.Errorf("%s: Prove, another key: %v", set, err)
		}
		if err := signer.Prove(t.Context(), liar{key, otherPub}, otherPub); !errors.Is(err, signer.ErrMismatch) {
			t.Errorf("%s: Prove, another key that claims to be this one: %v", set, err)
		}
		if err := new(signer.Proof).Check(otherPub, signer.Mechanism{}, nil, sign(t, key, nil)); !errors.Is(err, signer.ErrMismatch) {
			t.Errorf("%s: Proof, another key: %v", set, err)
		}
	}

	// Bind to the certificate of another parameter set names the sets.
	cert := signertest.OpenSSLLeaf(t, dir, "p256", "p256", "ec")
	if _, err := signer.Bind(keys[0], []*x509.Certificate{cert}, time.Now()); !errors.Is(err, signer.ErrMismatch) ||
		!strings.Contains(err.Error(), "your key is ML-DSA-44; ") || !strings.HasSuffix(err.Error(), "contains ECDSA P-256") {
		t.Error(err)
	}
	if pub := signer.PublicKeyOf(cert); pub != cert.PublicKey {
		t.Errorf("the key of an ECDSA certificate is a %T", pub)
	}

	// Verifies
	message := []byte("message")
	for i, key := range keys {
		for j, other := range keys {
			signature := sign(t, other, message)
			if signer.Verifies(key.Public(), signer.Mechanism{}, message, signature) != (i == j) {
				t.Errorf("%s: a signature by %s", sets[i], sets[j])
			}
			if i != j {
				continue
			}
			for name, wrong := range map[string][]byte{
				"none": nil, "empty": {}, "one byte": {0}, "shorter": signature[:len(signature)-1], "without the first byte": signature[1:],
				"longer": append(bytes.Clone(signature), 0), "twice": append(bytes.Clone(signature), signature...), "zeros": make([]byte, len(signature)),
			} {
				if signer.Verifies(key.Public(), signer.Mechanism{}, message, wrong) {
					t.Errorf("%s: a signature that is %s verifies", sets[i], name)
				}
			}
			if signer.Verifies(key.Public(), signer.Mechanism{}, []byte("massage"), signature) {
				t.Errorf("%s: the signature of another message verifies", sets[i])
			}
		}
	}
}

func sign(t *testing.T, key signer.Signer, message []byte) []byte {
	t.Helper()
	signature, err := key.Sign(rand.Reader, message, crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// The certificates of a bundle are put in order, by their signatures.
func TestChainMLDSA(t *testing.T) {
	dir := t.TempDir()
	ca := func(issuer, name, algorithm string, args ...string) *x509.Certificate {
		return signertest.OpenSSLCA(t, dir, issuer, name, algorithm, args...)
	}
	noIDs := []string{"-addext", "subjectKeyIdentifier=none", "-addext", "authorityKeyIdentifier=none"}
	root, otherRoot := ca("root", "root", "ML-DSA-87"), ca("other-root", "other-root", "ML-DSA-87", "-subj", "/CN=root")
	upper := ca("root", "upper", "ML-DSA-65")
	issuer := ca("upper", "issuer", "ML-DSA-44", noIDs...)
	sameName := ca("upper", "same-name", "ML-DSA-44", append(noIDs, "-subj", "/CN=issuer")...)
	sameNameEC := ca("upper", "same-name-ec", "ec", append(noIDs, "-subj", "/CN=issuer")...)
	leaf := signertest.OpenSSLLeaf(t, dir, "issuer", "leaf", "ML-DSA-44", noIDs...)
	ecLeaf := signertest.OpenSSLLeaf(t, dir, "issuer", "ec-leaf", "ec", noIDs...)
	ofSameName := signertest.OpenSSLLeaf(t, dir, "same-name", "of-same-name", "ML-DSA-65", noIDs...)
	all := []*x509.Certificate{leaf, ecLeaf, ofSameName, issuer, sameName, sameNameEC, upper, root, otherRoot, leaf}
	for _, test := range []struct{ leaf, issuer *x509.Certificate }{{leaf, issuer}, {ecLeaf, issuer}, {ofSameName, sameName}} {
		pub := signer.PublicKeyOf(test.leaf)
		want := []*x509.Certificate{test.leaf, test.issuer, upper}
		for range 20 {
			certs := slices.Clone(all)
			mathrand.Shuffle(len(certs), func(i, j int) { certs[i], certs[j] = certs[j], certs[i] })
			wantChain(t, pub, certs, want)
		}
		found, err := signer.SelectCertificates(pub, all, time.Now())
		if err != nil || !slices.Equal(found.Chain, want) || len(found.Alternatives) > 0 || len(found.Others) != len(all)-1-len(want) {
			t.Errorf("chain %q, alternatives %q, others %q, error %v", names(found.Chain), names(found.Alternatives), names(found.Others), err)
		}
		wantChain(t, pub, []*x509.Certificate{upper, test.leaf, root}, []*x509.Certificate{test.leaf})
	}
	altered := bytes.Clone(leaf.Raw)
	altered[len(altered)-100] ^= 1
	damaged, err := x509.ParseCertificate(altered)
	if err != nil {
		t.Fatal(err)
	}
	wantChain(t, signer.PublicKeyOf(leaf), []*x509.Certificate{issuer, upper, damaged}, []*x509.Certificate{damaged})
	wantChain(t, signer.PublicKeyOf(root), []*x509.Certificate{upper, root}, []*x509.Certificate{root})
	if c, err := signer.SelectCertificates(signer.PublicKeyOf(otherRoot), all[:4], time.Now()); !errors.Is(err, signer.ErrMismatch) || len(c.Others) != 4 {
		t.Errorf("no certificate for the key: %v", err)
	}
}
