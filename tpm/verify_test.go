package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
)

var errWrongSignature = errors.New("wrong signature")

// verify verifies a signature of a SHA-256 digest: ECDSA, or PKCS #1 v1.5.
func verify(pub crypto.PublicKey, digest, sig []byte) error {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(pub, digest, sig) {
			return nil
		}
		return errWrongSignature
	case *rsa.PublicKey:
		if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest, sig); err != nil {
			return fmt.Errorf("%w: %w", errWrongSignature, err)
		}
		return nil
	}
	return fmt.Errorf("key of type %T", pub)
}
