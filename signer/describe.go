package signer

import (
	"crypto"
	"crypto/dsa" //lint:ignore SA1019 only to name it
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/algorithm"
	"github.com/holdfast-dev/holdfast/internal/mldsa"
)

// DescribeKey returns the type and size of a public key in a readable form,
// such as "RSA-2048" or "ECDSA P-256".
func DescribeKey(pub crypto.PublicKey) string {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", pub.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + pub.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	case *dsa.PublicKey:
		return "DSA"
	case *ecdh.PublicKey:
		return "X25519"
	}
	if key := mldsa.Of(pub); key != nil {
		return key.Name
	}
	return "a key of unknown type"
}

// DescribeKeyOf is [DescribeKey] for the key of a certificate. It also names
// algorithms whose keys crypto/x509 does not read.
func DescribeKeyOf(c *x509.Certificate) string {
	if pub := PublicKeyOf(c); pub != nil {
		return DescribeKey(pub)
	}
	name := algorithm.OfKey(c)
	if strings.HasPrefix(name, "ML-DSA-") {
		name += " (damaged)"
	}
	return name
}
