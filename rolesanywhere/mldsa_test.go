package rolesanywhere

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The certificates and revocation lists are made by OpenSSL.
func TestTrustMLDSA(t *testing.T) {
	const set44, set65, set87 = "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"
	dir := t.TempDir()
	ca := func(issuer, name, algorithm string, args ...string) *x509.Certificate {
		return signertest.OpenSSLCA(t, dir, issuer, name, algorithm, args...)
	}
	end := func(issuer, name, algorithm string, args ...string) *x509.Certificate {
		return signertest.OpenSSLLeaf(t, dir, issuer, name, algorithm, args...)
	}
	root, between := ca("root", "root", set87), ca("root", "between", set65)
	leaf := end("between", "leaf", set44)
	twin := ca("twin", "twin", set87, "-subj", "/CN=root")
	rsaRoot, mixed := ca("rsa-root", "rsa-root", "rsa:2048"), ca("rsa-root", "mixed", set65)
	ecLeaf := end("mixed", "ec-leaf", "ec")
	last := ca("root", "last", set44, "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0")
	belowLast := ca("last", "below-last", set44)
	ofBelowLast := end("below-last", "of-below-last", set44)
	altered := bytes.Clone(leaf.Raw)
	altered[len(altered)-100] ^= 1
	damaged, err := x509.ParseCertificate(altered)
	if err != nil {
		t.Fatal(err)
	}

	now := time.Now()
	of := func(path ...*x509.Certificate) signer.Certificates { return signer.Certificates{Chain: path} }
	for _, test := range []struct {
		name   string
		certs  signer.Certificates
		anchor *x509.Certificate
		now    time.Time
		path   int    // certificates in the path
		want   string // part of the error; "": none
	}{
		{"three sets", of(leaf, between), root, now, 3, ""},
		{"intermediate", of(leaf, between), between, now, 2, ""},
		{"mixed", of(ecLeaf, mixed), rsaRoot, now, 3, ""},
		{"path length", of(ofBelowLast, belowLast, last), root, now, 0, "allows 0 intermediate certificates"},
		{"same name", of(leaf, between), twin, now, 0, "but has another key"},
		{"other", of(leaf, between), rsaRoot, now, 0, `"CN=between" was issued by "CN=root", but the trust anchor contains "CN=rsa-root"`},
		{"missing", of(leaf), root, now, 0, `"CN=leaf" was issued by "CN=between"`},
		{"altered", of(damaged), between, now, 0, "but has another key"},
		{"altered below", of(damaged, between), root, now, 0, `"CN=leaf" cannot be verified with the key of "CN=between"`},
		{"leaf", of(leaf), leaf, now, 0, "is not a CA certificate"},
		{"expired", of(leaf, between), root, now.AddDate(0, 0, 2), 0, "of the trust anchor expired"},
	} {
		paths, err := TrustPaths(test.certs, []*x509.Certificate{test.anchor}, test.now)
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || signer.Hint(err) == "") {
			t.Errorf("%s: %v, want %q; hint %q", test.name, err, test.want, signer.Hint(err))
		}
		if test.path > 0 && (len(paths) != 1 || len(paths[0]) != test.path || paths[0][0] != test.certs.Chain[0] || paths[0][test.path-1] != test.anchor) {
			t.Errorf("%s: %d paths", test.name, len(paths))
		}
		if other := CheckTrust(test.certs, []*x509.Certificate{test.anchor}, test.now); (other == nil) != (err == nil) {
			t.Errorf("%s: CheckTrust: %v", test.name, other)
		}
	}
	for _, c := range []*x509.Certificate{leaf, ecLeaf} {
		if problems := Problems(c, now); len(problems) > 0 {
			t.Errorf("%v: %v", c.Subject, problems)
		}
	}

	list := func(issuer string, certs ...*x509.Certificate) *x509.RevocationList {
		list, err := ParseCRL(signertest.OpenSSLCRL(t, dir, issuer, certs...))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	path := []*x509.Certificate{leaf, between, root}
	for _, test := range []struct {
		name    string
		list    *x509.RevocationList
		revoked *x509.Certificate
		err     string
	}{
		{"nothing", list("between"), nil, ""},
		{"another certificate", list("between", root, ecLeaf), nil, ""},
		{"the leaf", list("between", ecLeaf, leaf), leaf, ""},
		{"the issuer", list("root", between), between, ""},
		{"the leaf by another CA", list("mixed", leaf), nil, "issued none"},
		{"forged", list("twin", between), nil, "signature is not from"},
	} {
		c, entry, err := Revoked([][]*x509.Certificate{path}, test.list)
		if c != test.revoked || (entry != nil) != (test.revoked != nil) || (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v, %v, error %v", test.name, c, entry, err)
		}
	}
}

// Nobody here can verify SLH-DSA.
func TestUnknownSignature(t *testing.T) {
	dir := t.TempDir()
	root := signertest.OpenSSLCA(t, dir, "root", "root", "SLH-DSA-SHAKE-128f")
	between := signertest.OpenSSLCA(t, dir, "root", "between", "ec")
	leaf, below := signertest.OpenSSLLeaf(t, dir, "root", "leaf", "ec"), signertest.OpenSSLLeaf(t, dir, "between", "below", "ec")

	now := time.Now()
	err := CheckChain([]*x509.Certificate{leaf}, now)
	if err == nil || !strings.Contains(err.Error(), "signed with SLH-DSA-SHAKE-128f") || signer.Hint(err) != hintSupportedCA {
		t.Errorf("leaf: error %v", err)
	}
	err = CheckTrust(signer.Certificates{Chain: []*x509.Certificate{below, between}}, []*x509.Certificate{root}, now)
	if err == nil || !strings.Contains(err.Error(), "the trust anchor") || !strings.Contains(err.Error(), "SLH-DSA-SHAKE-128f") {
		t.Errorf("anchor: error %v", err)
	}
	reasons := UnusedIssuers(signer.Certificates{Chain: []*x509.Certificate{below, between}}, now)
	if len(reasons) != 1 || !strings.Contains(reasons[0].Error(), "is signed with SLH-DSA-SHAKE-128f") {
		t.Errorf("intermediate: %v", reasons)
	}
}
