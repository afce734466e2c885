package signer

import (
	"cmp"
	"crypto"
	"crypto/dsa" //lint:ignore SA1019 only to name it
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"

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

// algorithms has the names of public key algorithms that crypto/x509 does not
// have, by object identifier.
var algorithms = map[string]string{
	"1.2.840.113549.1.1.10": "RSA-PSS",
	"1.2.840.10046.2.1":     "DH",
	"1.3.101.111":           "X448",
	"1.3.101.113":           "Ed448",
}

// DescribeKeyOf is [DescribeKey] for the key of a certificate. It also names
// algorithms whose keys crypto/x509 does not read.
func DescribeKeyOf(c *x509.Certificate) string {
	if pub := PublicKeyOf(c); pub != nil {
		return DescribeKey(pub)
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &info); err != nil {
		return DescribeKey(nil)
	}
	if s := mldsa.ParametersFor(info.Algorithm.Algorithm); s != nil {
		return s.Name + " (damaged)"
	}
	oid := info.Algorithm.Algorithm.String()
	return cmp.Or(algorithms[oid], "a key of the algorithm "+oid)
}
