package keychain

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

// An algorithm is a signature algorithm of macOS for a digest. The PSS salt is
// always as long as the digest.
type algorithm struct {
	padding signer.Padding
	hash    crypto.Hash
	scheme  tls.SignatureScheme
	name    string // of the SecKeyAlgorithm
}

var algorithms = []algorithm{
	{signer.PSS, crypto.SHA256, tls.PSSWithSHA256, "kSecKeyAlgorithmRSASignatureDigestPSSSHA256"},
	{signer.PSS, crypto.SHA384, tls.PSSWithSHA384, "kSecKeyAlgorithmRSASignatureDigestPSSSHA384"},
	{signer.PSS, crypto.SHA512, tls.PSSWithSHA512, "kSecKeyAlgorithmRSASignatureDigestPSSSHA512"},
	{signer.PKCS1v15, crypto.SHA256, tls.PKCS1WithSHA256, "kSecKeyAlgorithmRSASignatureDigestPKCS1v15SHA256"},
	{signer.PKCS1v15, crypto.SHA384, tls.PKCS1WithSHA384, "kSecKeyAlgorithmRSASignatureDigestPKCS1v15SHA384"},
	{signer.PKCS1v15, crypto.SHA512, tls.PKCS1WithSHA512, "kSecKeyAlgorithmRSASignatureDigestPKCS1v15SHA512"},
	{signer.NoPadding, crypto.SHA256, tls.ECDSAWithP256AndSHA256, "kSecKeyAlgorithmECDSASignatureDigestX962SHA256"},
	{signer.NoPadding, crypto.SHA384, tls.ECDSAWithP384AndSHA384, "kSecKeyAlgorithmECDSASignatureDigestX962SHA384"},
	{signer.NoPadding, crypto.SHA512, tls.ECDSAWithP521AndSHA512, "kSecKeyAlgorithmECDSASignatureDigestX962SHA512"},
}

// checkPublic returns an error if the backend does not support the type of pub.
func checkPublic(pub crypto.PublicKey) error {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
	}
	return fmt.Errorf("%s: %w", signer.DescribeKey(pub), errors.ErrUnsupported)
}

// algorithmsFor returns the algorithms for the type of pub for which supported
// returns true.
func algorithmsFor(pub crypto.PublicKey, supported func(name string) bool) (all []algorithm) {
	_, isRSA := pub.(*rsa.PublicKey)
	for _, a := range algorithms {
		if isRSA == (a.padding != signer.NoPadding) && supported(a.name) {
			all = append(all, a)
		}
	}
	return all
}

// choose returns the name of the algorithm in all for m.
func choose(all []algorithm, m signer.Mechanism) (string, error) {
	if m.Padding == signer.PSS && m.SaltLen != m.Hash.Size() {
		return "", signer.WithHint(fmt.Errorf("PSS with a salt of %d bytes: %w", m.SaltLen, errors.ErrUnsupported),
			"macOS supports only a salt as long as the digest: use rsa.PSSSaltLengthEqualsHash")
	}
	for _, a := range all {
		if a.padding == m.Padding && a.hash == m.Hash {
			return a.name, nil
		}
	}
	return "", fmt.Errorf("padding %v with %v: %w", m.Padding, m.Hash, errors.ErrUnsupported)
}
