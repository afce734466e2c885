package spiffe

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"io"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A svidKey is a key in memory with its certificates and its reference. It is safe for
// concurrent use.
type svidKey struct {
	bound signer.Signer // prints nothing of the key
	ref   keystore.Ref
}

// newKey returns the key of an SVID after it has checked both.
func newKey(s svid, ref keystore.Ref, now time.Time) (signer.Signer, error) {
	certs, err := s.certificates()
	if err != nil {
		return nil, err
	}
	key, err := s.privateKey(certs[0])
	if err != nil {
		return nil, err
	}
	bound, err := signer.Bind(signer.FromKey(key), certs, now)
	if err != nil {
		return nil, s.invalid(err)
	}
	if !bound.Chain()[0].Equal(certs[0]) {
		return nil, s.invalid(errors.New("an issuer of its certificate has the same key"))
	}
	return svidKey{bound, ref}, nil
}

// Ref implements [keystore.Key].
func (k svidKey) Ref() keystore.Ref { return k.ref }

func (k svidKey) Public() crypto.PublicKey          { return k.bound.Public() }
func (k svidKey) Chain() []*x509.Certificate        { return k.bound.Chain() }
func (k svidKey) Certificates() signer.Certificates { return signer.CertificatesOf(k.bound) }
func (k svidKey) Close() error                      { return k.bound.Close() }

func (k svidKey) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.bound.Sign(rand, digest, opts)
}

func (k svidKey) SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return signer.SignContext(ctx, k.bound, rand, digest, opts)
}

func (k svidKey) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return signer.SignMessage(context.Background(), k.bound, rand, message, opts)
}

func (k svidKey) SignMessageContext(ctx context.Context, rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return signer.SignMessage(ctx, k.bound, rand, message, opts)
}
