//go:build linux

package badinput

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// inputCases are references to what is not a file.
func inputCases(p *pki) (all []badInput) {
	stdin := []string{"--private-key", "-"}
	variable := []string{"--private-key", "env:KEY"}
	all = []badInput{
		{name: "standard input empty", args: stdin, code: front.ExitOther, culprit: "-", hint: "PEM"},
		{name: "standard input is text", args: stdin, setup: typed(strings.NewReader("yes\n"), true), code: front.ExitOther, culprit: "-", hint: "PEM"},
		{name: "standard input cut", args: stdin, setup: typed(bytes.NewReader(p.keyPEM[:60]), true), code: front.ExitOther, culprit: "-", hint: "again"},
		{name: "standard input endless", args: stdin, setup: typed(zeros{}, true), code: front.ExitOther, culprit: "-", hint: "name"},
		{name: "standard input never ends", args: stdin, setup: typed(bytes.NewReader(p.keyPEM), false), code: front.ExitOther, culprit: "standard input", hint: "close"},
		{name: "standard input for a certificate alone", args: []string{"--certificate", "-", "--private-key="}, setup: typed(bytes.NewReader(p.certPEM), true), code: front.ExitNotFound, culprit: "-", hint: "--private-key"},
		{name: "variable not set", args: variable, code: front.ExitNotFound, culprit: "env:KEY", hint: "variable"},
		{name: "variable empty", args: variable, env: []string{"KEY="}, code: front.ExitOther, culprit: "env:KEY", hint: "PEM"},
		{name: "variable is a file name", args: variable, env: []string{"KEY=key.pem"}, code: front.ExitOther, culprit: "env:KEY", hint: "PEM"},
		{name: "variable without a name", args: []string{"--private-key", "env:"}, code: front.ExitUsage, culprit: "env:", hint: "env:NAME"},
		{name: "variable with an equals sign", args: []string{"--private-key", "env:KEY=x"}, code: front.ExitUsage, culprit: "env:KEY", hint: "env:NAME"},
		{name: "unknown scheme", args: []string{"--private-key", "kms:alias/app"}, code: front.ExitUsage, culprit: "kms", hint: "./kms:"},
		{name: "file URI of another host", args: []string{"--private-key", "file://host/key.pem"}, code: front.ExitUsage, culprit: "host", hint: "reference"},
		{name: "file URI with attributes", args: []string{"--private-key", "file:key.pem?pin-value=" + testPassword}, code: front.ExitUsage, culprit: "key.pem", hint: "reference"},
		{name: "reference of 20 KiB", args: []string{"--private-key", "pkcs11:" + strings.Repeat("x", 20<<10)}, code: front.ExitUsage, culprit: "pkcs11:", hint: "reference"},
		{name: "PIN in a reference", args: []string{"--private-key", "pkcs11:token=app;object=k?module-path=/bin/sh&pin-value=" + testPassword}, code: front.ExitUnavailable, culprit: "token=app", hint: "install holdfast-pkcs11"},
		{name: "PIN in a reference that is wrong", args: []string{"--private-key", "pkcs11:object=k\n?pin-value=" + testPassword}, code: front.ExitUsage, culprit: "pkcs11:", hint: "reference"},
		{name: "PIN in an unknown scheme", args: []string{"--private-key", "pkcs12:object=k?pin-value=" + testPassword}, code: front.ExitUsage, culprit: "pkcs12", hint: "./pkcs12:"},
		{name: "certificate in a token without cgo", args: []string{"--certificate", "pkcs11:object=app?module-path=/bin/sh"}, code: front.ExitUnavailable, culprit: "pkcs11:object=app", hint: "install holdfast-pkcs11"},
		{name: "key in a token without cgo", args: []string{"--private-key", "pkcs11:object=app", "--pkcs11-lib", "/bin/sh"}, code: front.ExitUnavailable, culprit: "pkcs11:object=app", hint: "install holdfast-pkcs11"},
	}
	for _, ref := range []string{"winstore:subject=CN=app", "keychain:label=app"} {
		all = append(all, badInput{name: "key " + ref, args: []string{"--private-key", ref, "--certificate="}, code: front.ExitUnavailable, culprit: ref, hint: "key file"})
	}
	return all
}

// certificateCases are certificates of the right key that the service refuses.
// Holdfast refuses most of them itself. Those that only the service can judge
// are sent.
func certificateCases(*pki) []badInput {
	day := 24 * time.Hour
	more := []string{"--intermediates", "more.pem"}
	all := []badInput{
		{name: "certificate expired", setup: issued(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-2*day), time.Now().Add(-day)
		}), hint: "renew"},
		{name: "certificate not yet valid", setup: issued(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now().Add(day), time.Now().Add(2*day) }), hint: "clock"},
		{name: "certificate of a CA", setup: issued(func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, c.KeyUsage|x509.KeyUsageCertSign }), hint: "CA:FALSE"},
		{name: "certificate without digitalSignature", setup: issued(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), hint: "digitalSignature"},
		{name: "certificate without key usage", setup: issued(func(c *x509.Certificate) { c.KeyUsage = 0 }), hint: "digitalSignature"},
		{name: "certificate signed with SHA-1", setup: issued(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }), hint: "SHA-256"},
		{name: "certificate with an empty subject", setup: issued(func(c *x509.Certificate) { c.Subject = pkix.Name{} }), hint: "subject"},
		{name: "certificate with a subject that steers the terminal", setup: issued(func(c *x509.Certificate) { c.KeyUsage, c.Subject.CommonName = 0, "a\x1b[2J\u202eb\r\n" }), hint: "digitalSignature"},
		{name: "certificate with a subject of 10 KiB", setup: issued(func(c *x509.Certificate) { c.KeyUsage, c.Subject.CommonName = 0, strings.Repeat("x", 10<<10) }), hint: "digitalSignature"},
		{name: "certificate of version 1", setup: version1, hint: "-extfile"},
		{name: "certificate for Ed25519", setup: func(s *scene) { otherKey(s, signertest.NewKey(s, "ed25519")) }, hint: "P-256"},
		{name: "certificate for P-224", setup: func(s *scene) {
			key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
			s.must(err)
			otherKey(s, key)
		}, code: front.ExitUnavailable, culprit: "key.pem", hint: "P-256"},
		{name: "certificate for secp256k1", setup: steps(
			openssl("ecparam", "-name", "secp256k1", "-genkey", "-noout", "-out", "other.pem"),
			openssl("req", "-new", "-x509", "-key", "other.pem", "-subj", "/CN=x", "-out", "cert.pem")), code: front.ExitNotFound, hint: "P-256"},
	}
	for i := range all {
		all[i].code, all[i].culprit = cmp.Or(all[i].code, front.ExitOther), cmp.Or(all[i].culprit, "cert.pem")
	}
	untrusted := refused{status: 403, code: "AccessDeniedException", message: "Untrusted signing certificate"}
	for _, c := range []badInput{
		{name: "intermediate expired", args: more, setup: intermediate(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), hint: "renew"},
		{name: "intermediate signed with SHA-1", args: more, setup: intermediate(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }), hint: "SHA-256"},
		{name: "six intermediates", args: more, setup: func(s *scene) {
			ca := s.ca
			for i := range 6 {
				ca = ca.Intermediate(s, fmt.Sprint("intermediate ", i))
			}
			s.write("cert.pem", signertest.CertPEM(ca.Issue(s, s.key, nil)))
			s.write("more.pem", signertest.CertPEM(ca.Chain()...))
		}, hint: "trust anchor"},
		{name: "certificate valid in two minutes", setup: issued(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(2 * time.Minute) }), hint: "the service's clock", warning: "not yet valid"},
	} {
		c.serve, c.code, c.culprit, c.sent = answer(untrusted.ServeHTTP), front.ExitRefused, "403", 1
		all = append(all, c)
	}
	return all
}

// otherKey writes a certificate for key beside it.
func otherKey(s *scene, key crypto.Signer) {
	s.write("key.pem", signertest.KeyPEM(s, key))
	s.write("cert.pem", signertest.CertPEM(s.ca.Issue(s, key, nil)))
}

// intermediate puts a CA between the root and the good certificate.
func intermediate(mutate func(*x509.Certificate)) func(*scene) {
	return func(s *scene) {
		key := signertest.NewKey(s, "p256")
		ca := &signertest.CA{Key: key, Cert: s.ca.Issue(s, key, func(c *x509.Certificate) {
			c.Subject.CommonName, c.IsCA, c.KeyUsage = "intermediate", true, x509.KeyUsageCertSign
			mutate(c)
		})}
		s.write("more.pem", signertest.CertPEM(ca.Cert))
		s.write("cert.pem", signertest.CertPEM(ca.Issue(s, s.key, nil)))
	}
}

// version1 makes of the good certificate one without version and extensions
// (RFC 5280, section 4.1). Its signature is wrong, which only the service sees.
func version1(s *scene) {
	type tbs struct {
		Version int `asn1:"optional,explicit,default:0,tag:0"`
		Serial  *big.Int
		Algorithm, Issuer, Validity,
		Subject, Key asn1.RawValue
		Extensions asn1.RawValue `asn1:"optional,tag:3"`
	}
	var cert struct {
		TBS                  tbs
		Algorithm, Signature asn1.RawValue
	}
	_, err := asn1.Unmarshal(s.leaf.Raw, &cert)
	s.must(err)
	cert.TBS.Version, cert.TBS.Extensions = 0, asn1.RawValue{}
	der, err := asn1.Marshal(cert)
	s.must(err)
	s.write("cert.pem", pemOf("CERTIFICATE", der))
}
