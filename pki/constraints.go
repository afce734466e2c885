package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/signer"
)

var oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}

// checkConstraints returns an error if the name constraints of the issuer, or a
// critical extension of it that nobody knows, make verifiers refuse the
// certificate. It finds out with a certificate of the same names that a key of no
// value signs, before the key of the CA signs anything.
func (t Template) checkConstraints(issuer *x509.Certificate) error {
	constrained := func(c *x509.Certificate) bool {
		for _, e := range c.Extensions {
			if e.Id.Equal(oidNameConstraints) {
				return true
			}
		}
		return len(c.UnhandledCriticalExtensions) > 0
	}
	if !constrained(issuer) {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	trial := *certpath.Relaxed(issuer)
	trial.PublicKey, trial.PublicKeyAlgorithm = key.Public(), x509.ECDSA
	leaf, err := create(rand.Reader, t, &trial, signer.FromKey(key))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(&trial)
	relaxed := certpath.Relaxed(leaf)
	_, err = relaxed.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: t.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err == nil {
		err = certpath.Check([]*x509.Certificate{leaf, issuer})
	}
	if err != nil {
		return signer.WithHint(fmt.Errorf("verifiers would refuse the certificate because of an extension of its issuer: %w", err),
			"use names that the name constraints of the CA permit, or another CA")
	}
	return nil
}

// CheckChain returns an error if the certificates, of which each one issued the
// one before it, do not permit a CA with the first one: if one does not sign the
// one before it, or if a path length is exceeded (RFC 5280, section 4.2.1.9).
func CheckChain(chain []*x509.Certificate) error {
	for i := 1; i < len(chain); i++ {
		if err := checkSignature(chain[i-1], chain[i]); err != nil {
			return fmt.Errorf("certificate %d (%s) did not issue the one before it", i+1, chain[i].Subject)
		}
	}
	return checkPathLengths(chain, 0)
}

// checkSignature is CheckSignatureFrom of crypto/x509, also with ML-DSA.
func checkSignature(c, issuer *x509.Certificate) error {
	if _, isMLDSA := mldsa.SignatureOf(c); !isMLDSA {
		return c.CheckSignatureFrom(issuer)
	}
	if !issuer.IsCA || issuer.KeyUsage != 0 && issuer.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("the issuer is not a CA")
	}
	return certpath.CheckSignature(c, issuer)
}

// checkPathLengths returns an error if the path length of a certificate of the
// chain, except the first, permits fewer CAs than the chain has below it, and more
// further ones below the first.
func checkPathLengths(chain []*x509.Certificate, more int) error {
	below := more
	for i, c := range chain {
		if i > 0 && c.MaxPathLen >= 0 && (c.MaxPathLen > 0 || c.MaxPathLenZero) && below > c.MaxPathLen {
			return signer.WithHint(fmt.Errorf("the path length of the CA %q permits %d CAs below it, and there would be %d", c.Subject, c.MaxPathLen, below),
				"have it issued again with a larger path length, or have another CA issue the certificate")
		}
		if !slices.Equal(c.RawSubject, c.RawIssuer) { // self-issued ones do not count
			below++
		}
	}
	return nil
}
