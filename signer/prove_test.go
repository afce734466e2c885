package signer_test

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestProve(t *testing.T) {
	for _, kind := range signertest.KeyKinds() {
		key := signertest.Key(t, kind)
		if err := signer.Prove(t.Context(), signer.FromKey(key), key.Public()); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	key, other := signertest.Key(t, "p256"), signertest.NewKey(t, "p256")
	if err := signer.Prove(t.Context(), signer.FromKey(key), other.Public()); !errors.Is(err, signer.ErrMismatch) {
		t.Errorf("another key: error %v", err)
	}
	if err := signer.Prove(t.Context(), liar{signer.FromKey(key), other.Public()}, other.Public()); !errors.Is(err, signer.ErrMismatch) {
		t.Errorf("another key that claims to be this one: error %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := signer.Prove(ended, signer.FromKey(key), key.Public()); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: error %v", err)
	}
	closed := signer.FromKey(key)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := signer.Prove(t.Context(), closed, key.Public()); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("closed: error %v", err)
	}
	rsaKey := signertest.Key(t, "rsa2048")
	if err := signer.Prove(t.Context(), onlyPSS{signer.FromKey(rsaKey), t}, rsaKey.Public()); err != nil {
		t.Errorf("only PSS: %v", err)
	}
	p384 := signertest.Key(t, "p384")
	if err := signer.Prove(t.Context(), onlySHA384{signer.FromKey(p384), t}, p384.Public()); err != nil {
		t.Errorf("only SHA-384: %v", err)
	}
}

// onlySHA384 is an ECDSA key that makes no other signatures.
type onlySHA384 struct {
	signer.Signer
	t *testing.T
}

func (onlySHA384) SignatureSchemes() []tls.SignatureScheme {
	return []tls.SignatureScheme{tls.ECDSAWithP384AndSHA384}
}

func (o onlySHA384) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts != crypto.SHA384 {
		o.t.Errorf("signature with %v", opts)
	}
	return o.Signer.Sign(rand, digest, opts)
}

// A liar claims to have another public key.
type liar struct {
	signer.Signer
	pub crypto.PublicKey
}

func (l liar) Public() crypto.PublicKey { return l.pub }

func (l liar) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return l.Signer.Sign(rand, digest, opts)
}

// onlyPSS is an RSA key that makes no other signatures.
type onlyPSS struct {
	signer.Signer
	t *testing.T
}

func (onlyPSS) SignatureSchemes() []tls.SignatureScheme {
	return []tls.SignatureScheme{tls.PSSWithSHA256}
}

func (p onlyPSS) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, ok := opts.(*rsa.PSSOptions); !ok {
		p.t.Errorf("signature with %T", opts)
	}
	return p.Signer.Sign(rand, digest, opts)
}

// An attestation certificate is never selected, however long it is valid, and of
// two certificates that expire together the one that was issued last is.
func TestSelectSkipsAttestation(t *testing.T) {
	key := signertest.Key(t, "p256")
	ca := signertest.NewCA(t, "root")
	leaf, attestation := ca.Issue(t, key, nil), signertest.Attestation(t, key)
	if signer.IsAttestation(leaf) || !signer.IsAttestation(attestation) {
		t.Error("IsAttestation is wrong")
	}
	for _, certs := range [][2]int{{0, 1}, {1, 0}} {
		both := append(ca.Chain(), attestation, leaf)
		found, err := signer.SelectCertificates(key.Public(), append(both[:0:0], both[certs[0]], both[certs[1]]), time.Now())
		if err != nil || !found.Chain[0].Equal(leaf) || len(found.Others) != 1 {
			t.Errorf("%+v, error %v", found, err)
		}
	}
	found, err := signer.SelectCertificates(key.Public(), append(ca.Chain(), attestation), time.Now())
	if !errors.Is(err, signer.ErrNoCertificate) || errors.Is(err, signer.ErrMismatch) || found.Chain != nil || len(found.Others) != 1 {
		t.Errorf("%+v, error %v", found, err)
	}
}
