package rolesanywhere

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestRevoked(t *testing.T) {
	root := signertest.NewCA(t, "root")
	ca := root.Intermediate(t, "issuer")
	leaf := ca.Issue(t, signertest.Key(t, "p256"), nil)
	path := []*x509.Certificate{leaf, ca.Cert, root.Cert}
	parse := func(der []byte) *x509.RevocationList {
		list, err := ParseCRL(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	for _, test := range []struct {
		name    string
		list    *x509.RevocationList
		revoked *x509.Certificate
		err     string
	}{
		{"nothing", parse(ca.Revoke(t)), nil, ""},
		{"another certificate", parse(ca.Revoke(t, root.Cert)), nil, ""},
		{"the leaf", parse(ca.Revoke(t, leaf)), leaf, ""},
		{"the issuer", parse(root.Revoke(t, ca.Cert)), ca.Cert, ""},
		{"the leaf by another CA", parse(signertest.NewCA(t, "else").Revoke(t, leaf)), nil, "issued none"},
		{"forged", parse(root.Intermediate(t, "issuer").Revoke(t, leaf)), nil, "signature is not from"},
	} {
		c, entry, err := Revoked([][]*x509.Certificate{path}, test.list)
		if c != test.revoked || (entry != nil) != (test.revoked != nil) || (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v, %v, error %v", test.name, c, entry, err)
		}
	}
	// One path that is not revoked is enough.
	other := []*x509.Certificate{leaf, signertest.NewCA(t, "other").Cert}
	if c, _, err := Revoked([][]*x509.Certificate{path, other}, parse(ca.Revoke(t, leaf))); c != nil || err != nil {
		t.Errorf("two paths: %v, error %v", c, err)
	}
}

func TestParseCRL(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	list := ca.Revoke(t)
	text := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list})
	delta, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(2), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}},
	}, ca.Cert, ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		data []byte
		ok   bool
	}{
		"DER": {list, true}, "PEM": {text, true}, "empty": {nil, false}, "text": {[]byte("none"), false}, "cut": {list[:40], false},
		"a certificate": {signertest.CertPEM(ca.Cert), false}, "two": {append(text, text...), false}, "delta": {delta, false},
		"large": {make([]byte, maxCRLSize+1), false},
	} {
		if _, err := ParseCRL(test.data); (err == nil) != test.ok || err != nil && signer.Hint(err) == "" {
			t.Errorf("%s: error %v, hint %q", name, err, signer.Hint(err))
		}
	}
}
