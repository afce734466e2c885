package signer

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/mldsa"
)

// Prove signs random data with s and verifies the signature with pub. The error
// wraps [ErrMismatch] if s is another key, or is the error of the signature. The
// device may ask for a PIN or a touch; see [SignContext].
func Prove(ctx context.Context, s Signer, pub crypto.PublicKey) error {
	if !SamePublicKey(s.Public(), pub) {
		return unlike(s.Public(), pub, "the certificate", DescribeKey(pub))
	}
	message := make([]byte, 32)
	_, _ = rand.Read(message) // never fails
	opts := proofOptions(s, pub)
	digest, err := digestOf(message, opts)
	if err != nil {
		return err
	}
	m, err := MechanismFor(pub, digest, opts)
	if err != nil {
		return err
	}
	sig, err := SignMessage(ctx, s, rand.Reader, slices.Clone(message), opts)
	if err != nil {
		return err
	}
	if !Verifies(pub, m, digest, sig) {
		return fmt.Errorf("%w: its public key does not verify the signature", ErrMismatch)
	}
	return nil
}

// proofOptions returns a signature that s makes: with SHA-256 if it can, and with PSS
// only if an RSA key in a device makes no others.
func proofOptions(s Signer, pub crypto.PublicKey) crypto.SignerOpts {
	if mldsa.Of(pub) != nil {
		return crypto.Hash(0)
	}
	switch pub.(type) {
	case ed25519.PublicKey:
		return crypto.Hash(0)
	case *ecdsa.PublicKey:
		if l, ok := s.(SchemeLimiter); ok { // an ssh-agent signs only with the hash of the curve
			switch schemes := l.SignatureSchemes(); {
			case slices.Contains(schemes, tls.ECDSAWithP256AndSHA256):
			case slices.Contains(schemes, tls.ECDSAWithP384AndSHA384):
				return crypto.SHA384
			case slices.Contains(schemes, tls.ECDSAWithP521AndSHA512):
				return crypto.SHA512
			}
		}
	case *rsa.PublicKey:
		if l, ok := s.(SchemeLimiter); ok {
			schemes := l.SignatureSchemes()
			if !slices.Contains(schemes, tls.PKCS1WithSHA256) && slices.Contains(schemes, tls.PSSWithSHA256) {
				return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
			}
		}
	}
	return crypto.SHA256
}
