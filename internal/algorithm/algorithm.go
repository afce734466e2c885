// Package algorithm names algorithms and curves by their object identifiers.
package algorithm

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
)

// Name returns the name of an algorithm or curve, or its object identifier.
func Name(id asn1.ObjectIdentifier) string {
	text := id.String()
	for _, n := range names {
		if n.id == text {
			return n.name
		}
	}
	return "the algorithm with the object identifier " + text
}

// OfKey returns the name of the algorithm of a certificate's key.
func OfKey(c *x509.Certificate) string {
	if c.PublicKey != nil {
		return c.PublicKeyAlgorithm.String()
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &info); err != nil {
		return "an unknown algorithm"
	}
	return Name(info.Algorithm.Algorithm)
}

// OfSignature returns the name of the algorithm that signed a certificate, a request
// or a revocation list. der is all of it.
func OfSignature(known x509.SignatureAlgorithm, der []byte) string {
	if known != x509.UnknownSignatureAlgorithm {
		return known.String()
	}
	var signed struct {
		ToBeSigned asn1.RawValue
		Algorithm  pkix.AlgorithmIdentifier
		Signature  asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &signed); err != nil {
		return "an unknown algorithm"
	}
	return Name(signed.Algorithm.Algorithm)
}

// names is searched from the beginning, which is fast enough for messages. A map would
// be filled when the program starts.
var names = [...]struct{ id, name string }{
	{"1.2.840.113549.1.1.10", "RSA-PSS"},
	{"1.2.840.113549.1.1.7", "RSA-OAEP"},
	{"1.3.101.110", "X25519"},
	{"1.3.101.111", "X448"},
	{"1.3.101.113", "Ed448"},
	{"1.2.840.10040.4.1", "DSA"},
	{"1.2.840.113549.1.3.1", "Diffie-Hellman"},
	{"1.2.840.10046.2.1", "Diffie-Hellman (X9.42)"},
	{"1.2.643.2.2.19", "GOST R 34.10-2001"},
	{"1.2.643.7.1.1.1.1", "GOST R 34.10-2012 with 256 bits"},
	{"1.2.643.7.1.1.1.2", "GOST R 34.10-2012 with 512 bits"},
	{"2.16.840.1.101.3.4.3.17", "ML-DSA-44"},
	{"2.16.840.1.101.3.4.3.18", "ML-DSA-65"},
	{"2.16.840.1.101.3.4.3.19", "ML-DSA-87"},
	{"2.16.840.1.101.3.4.4.1", "ML-KEM-512"},
	{"2.16.840.1.101.3.4.4.2", "ML-KEM-768"},
	{"2.16.840.1.101.3.4.4.3", "ML-KEM-1024"},
	{"2.16.840.1.101.3.4.3.20", "SLH-DSA-SHA2-128s"},
	{"2.16.840.1.101.3.4.3.21", "SLH-DSA-SHA2-128f"},
	{"2.16.840.1.101.3.4.3.22", "SLH-DSA-SHA2-192s"},
	{"2.16.840.1.101.3.4.3.23", "SLH-DSA-SHA2-192f"},
	{"2.16.840.1.101.3.4.3.24", "SLH-DSA-SHA2-256s"},
	{"2.16.840.1.101.3.4.3.25", "SLH-DSA-SHA2-256f"},
	{"2.16.840.1.101.3.4.3.26", "SLH-DSA-SHAKE-128s"},
	{"2.16.840.1.101.3.4.3.27", "SLH-DSA-SHAKE-128f"},
	{"2.16.840.1.101.3.4.3.28", "SLH-DSA-SHAKE-192s"},
	{"2.16.840.1.101.3.4.3.29", "SLH-DSA-SHAKE-192f"},
	{"2.16.840.1.101.3.4.3.30", "SLH-DSA-SHAKE-256s"},
	{"2.16.840.1.101.3.4.3.31", "SLH-DSA-SHAKE-256f"},

	{"1.3.132.0.10", "secp256k1"},
	{"1.3.132.0.33", "P-224"},
	{"1.2.840.10045.3.1.1", "P-192"},
	{"1.2.156.10197.1.301", "SM2"},
	{"1.3.36.3.3.2.8.1.1.1", "brainpoolP160r1"},
	{"1.3.36.3.3.2.8.1.1.3", "brainpoolP192r1"},
	{"1.3.36.3.3.2.8.1.1.5", "brainpoolP224r1"},
	{"1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"},
	{"1.3.36.3.3.2.8.1.1.8", "brainpoolP256t1"},
	{"1.3.36.3.3.2.8.1.1.9", "brainpoolP320r1"},
	{"1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"},
	{"1.3.36.3.3.2.8.1.1.12", "brainpoolP384t1"},
	{"1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"},
	{"1.3.36.3.3.2.8.1.1.14", "brainpoolP512t1"},

	{"1.2.840.113549.1.5.1", "PBE with MD2 and DES"},
	{"1.2.840.113549.1.5.3", "PBE with MD5 and DES"},
	{"1.2.840.113549.1.5.4", "PBE with MD2 and RC2"},
	{"1.2.840.113549.1.5.6", "PBE with MD5 and RC2"},
	{"1.2.840.113549.1.5.10", "PBE with SHA-1 and DES"},
	{"1.2.840.113549.1.5.11", "PBE with SHA-1 and RC2"},

	{"1.2.840.113549.1.12.1.1", "PBE with SHA-1 and 128-bit RC4"},
	{"1.2.840.113549.1.12.1.2", "PBE with SHA-1 and 40-bit RC4"},
	{"1.2.840.113549.1.12.1.3", "PBE with SHA-1 and triple DES"},
	{"1.2.840.113549.1.12.1.4", "PBE with SHA-1 and two-key triple DES"},
	{"1.2.840.113549.1.12.1.5", "PBE with SHA-1 and 128-bit RC2"},
	{"1.2.840.113549.1.12.1.6", "PBE with SHA-1 and 40-bit RC2"},

	{"1.3.14.3.2.7", "DES"},
	{"1.2.840.113549.3.2", "RC2"},
	{"1.2.392.200011.61.1.1.1.2", "Camellia-128"},
	{"1.2.392.200011.61.1.1.1.3", "Camellia-192"},
	{"1.2.392.200011.61.1.1.1.4", "Camellia-256"},
	{"1.2.410.200004.1.4", "SEED"},
	{"1.2.410.200046.1.1.2", "ARIA-128"},
	{"1.2.410.200046.1.1.7", "ARIA-192"},
	{"1.2.410.200046.1.1.12", "ARIA-256"},
	{"1.2.156.10197.1.104.2", "SM4"},
	{"1.2.643.2.2.21", "GOST 28147-89"},
	{"1.2.840.113549.2.5", "MD5"},
	{"1.2.840.113549.2.12", "SHA-512/224"},
	{"1.2.840.113549.2.13", "SHA-512/256"},
	{"1.2.643.7.1.1.2.2", "GOST R 34.11-2012 with 256 bits"},
	{"1.2.643.7.1.1.2.3", "GOST R 34.11-2012 with 512 bits"},
	{"1.2.156.10197.1.401", "SM3"},
	{"1.3.36.3.2.1", "RIPEMD-160"},
	{"2.16.840.1.101.3.4.2.7", "SHA3-224"},
	{"2.16.840.1.101.3.4.2.8", "SHA3-256"},
	{"2.16.840.1.101.3.4.2.9", "SHA3-384"},
	{"2.16.840.1.101.3.4.2.10", "SHA3-512"},
	{"2.16.840.1.101.3.4.2.13", "HMAC-SHA3-224"},
	{"2.16.840.1.101.3.4.2.14", "HMAC-SHA3-256"},
	{"2.16.840.1.101.3.4.2.15", "HMAC-SHA3-384"},
	{"2.16.840.1.101.3.4.2.16", "HMAC-SHA3-512"},
	{"1.2.840.113549.3.4", "RC4"},
	{"2.16.840.1.101.3.4.1.6", "AES-128-GCM"},
	{"2.16.840.1.101.3.4.1.26", "AES-192-GCM"},
	{"2.16.840.1.101.3.4.1.46", "AES-256-GCM"},
	{"1.2.643.2.2.9", "GOST R 34.11-94"},
	{"1.2.156.10197.1.401.3.1", "HMAC-SM3"},
	{"1.2.840.113549.1.9.16.3.17", "HSS/LMS"},
	{"1.3.6.1.5.5.7.6.34", "XMSS"},
	{"2.16.840.1.101.3.4.3.32", "HashML-DSA-44"},
	{"2.16.840.1.101.3.4.3.33", "HashML-DSA-65"},
	{"2.16.840.1.101.3.4.3.34", "HashML-DSA-87"},
	{"1.3.132.0.8", "secp160r1"},
	{"1.3.132.0.9", "secp160k1"},
	{"1.3.132.0.30", "secp160r2"},
	{"1.3.132.0.31", "secp192k1"},
	{"1.3.132.0.32", "secp224k1"},
	{"1.3.132.0.1", "sect163k1"},
	{"1.3.132.0.15", "sect163r2"},
	{"1.3.132.0.26", "sect233k1"},
	{"1.3.132.0.27", "sect233r1"},
	{"1.3.132.0.16", "sect283k1"},
	{"1.3.132.0.17", "sect283r1"},
	{"1.3.132.0.36", "sect409k1"},
	{"1.3.132.0.37", "sect409r1"},
	{"1.3.132.0.38", "sect571k1"},
	{"1.3.132.0.39", "sect571r1"},
}
