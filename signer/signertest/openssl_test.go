package signertest

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// OpenSSL writes each of the three forms of a private key, and they differ in
// the tag that RFC 9881, section 6, gives them.
func TestIssueMLDSA(t *testing.T) {
	openssl := OpenSSL35(t)
	for _, test := range []struct {
		set, form string
		oid       asn1.ObjectIdentifier // RFC 9881, section 2
		tag       byte
	}{
		{"ML-DSA-44", "seed-only", asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 17}, 0x80},
		{"ML-DSA-65", "seed-only", asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 18}, 0x80},
		{"ML-DSA-65", "priv-only", asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 18}, 0x04},
		{"ML-DSA-65", "seed-priv", asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 18}, 0x30},
		{"ML-DSA-87", "seed-priv", asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 19}, 0x30},
	} {
		t.Run(test.set+" "+test.form, func(t *testing.T) {
			dir := t.TempDir()
			IssueMLDSA(t, dir, test.set, test.form)
			for _, name := range []string{"key.pem", "root-key.pem"} {
				var key struct {
					Version   int
					Algorithm pkix.AlgorithmIdentifier
					Key       []byte
				}
				if rest, err := asn1.Unmarshal(readPEM(t, filepath.Join(dir, name), "PRIVATE KEY"), &key); err != nil || len(rest) != 0 {
					t.Fatalf("%s: error %v, %d bytes left", name, err, len(rest))
				}
				if !key.Algorithm.Algorithm.Equal(test.oid) || key.Key[0] != test.tag {
					t.Errorf("%s: %v with the tag %#02x, want %v with %#02x", name, key.Algorithm.Algorithm, key.Key[0], test.oid, test.tag)
				}
			}
			root, leaf := readCert(t, filepath.Join(dir, "root.pem")), readCert(t, filepath.Join(dir, "cert.pem"))
			if !root.IsCA || root.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || len(root.SubjectKeyId) == 0 {
				t.Errorf("root: %+v", root)
			}
			if !leaf.BasicConstraintsValid || leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature ||
				leaf.Subject.CommonName != "client" || !slices.Equal(leaf.AuthorityKeyId, root.SubjectKeyId) {
				t.Errorf("leaf: %+v", leaf)
			}
			if d := leaf.NotAfter.Sub(leaf.NotBefore); leaf.Version != 3 || d != 24*time.Hour {
				t.Errorf("leaf of version %d is valid for %v", leaf.Version, d)
			}
			cmd := exec.Command(openssl, "verify", "-x509_strict", "-CAfile", "root.pem", "cert.pem")
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// Go reads the revocation lists of OpenSSL.
func TestOpenSSLCRL(t *testing.T) {
	dir := t.TempDir()
	ca := OpenSSLCA(t, dir, "ca", "ca", "ec")
	leaf := OpenSSLLeaf(t, dir, "ca", "leaf", "rsa:2048")
	for _, revoked := range [][]*x509.Certificate{nil, {leaf}, {leaf, ca}} {
		block, _ := pem.Decode(OpenSSLCRL(t, dir, "ca", revoked...))
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if err := list.CheckSignatureFrom(ca); err != nil || len(list.RevokedCertificateEntries) != len(revoked) {
			t.Errorf("%d entries, want %d; %v", len(list.RevokedCertificateEntries), len(revoked), err)
		}
		for _, c := range revoked {
			if !slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(c.SerialNumber) == 0 }) {
				t.Errorf("%v is not listed", c.Subject)
			}
		}
		if !list.NextUpdate.After(time.Now()) {
			t.Errorf("valid until %v", list.NextUpdate)
		}
	}
}

func readCert(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(readPEM(t, file, "CERTIFICATE"))
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func readPEM(t *testing.T, file, kind string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != kind || len(rest) != 0 {
		t.Fatalf("%s is not one block %s", file, kind)
	}
	return block.Bytes
}
