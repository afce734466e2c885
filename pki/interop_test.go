package pki_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// newCA returns a root with a key of a kind, and its path.
func newCA(t *testing.T, kind string, pathLength int, now time.Time) (pki.Issuer, string) {
	t.Helper()
	profile := pki.Root
	profile.PathLength = pathLength
	key := signer.FromKey(signertest.Key(t, kind))
	serial, err := pki.NewSerial(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	notBefore, notAfter := pki.Validity(nil, now, profile.Lifetime)
	cert, err := pki.SelfSign(rand.Reader, key, pki.Template{Profile: profile, Names: pki.CommonName("Root " + kind), Serial: serial, NotBefore: notBefore, NotAfter: notAfter})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "root.pem")
	writePEM(t, path, "CERTIFICATE", cert.Raw)
	return pki.Issuer{Certificate: cert, Key: key}, path
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run returns the output of a program that must succeed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func namesCases(t *testing.T) map[string]pki.Names {
	all := pki.CommonName("app-17")
	all.DNSNames = []string{"app.example.com", "*.example.com"}
	all.URIs = []*url.URL{mustURL(t, "spiffe://example.com/app"), mustURL(t, "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6")}
	all.IPAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	all.EmailAddresses = []string{"app@example.com"}
	dns := pki.CommonName("host")
	dns.DNSNames = []string{"host.example.com"}
	return map[string]pki.Names{
		"plain":  pki.CommonName("app"),
		"UTF-8":  pki.CommonName("Zürich, \"+\" 東京"),
		"long":   pki.CommonName(strings.Repeat("n", 64)),
		"a name": dns,
		"all":    all,
	}
}

// OpenSSL and GnuTLS verify every certificate, and read the same from it.
func TestOtherImplementationsAgree(t *testing.T) {
	signertest.Require(t, "openssl", "openssl")
	signertest.Require(t, "certtool", "certtool")
	now := time.Now()
	kinds := signertest.KeyKinds()
	issuers, roots := make([]pki.Issuer, len(kinds)), make([]string, len(kinds))
	for i, kind := range kinds {
		issuers[i], roots[i] = newCA(t, kind, 1, now)
	}
	n := 0
	for _, kind := range kinds {
		for _, profile := range []pki.Profile{pki.Client, pki.Server, pki.Intermediate} {
			for name, names := range namesCases(t) {
				for life, lifetime := range map[string]time.Duration{"short": time.Hour, "too long": 100 * 365 * 24 * time.Hour} {
					ca := n % len(kinds)
					n++
					t.Run(fmt.Sprintf("%s %s %s %s %s", kind, profile.Name, name, life, kinds[ca]), func(t *testing.T) {
						checkIssued(t, issuers[ca], roots[ca], kind, profile, names, now, lifetime)
					})
				}
			}
		}
	}
	if n < 200 {
		t.Errorf("only %d combinations", n)
	}
}

func checkIssued(t *testing.T, issuer pki.Issuer, root, kind string, profile pki.Profile, names pki.Names, now time.Time, lifetime time.Duration) {
	key := signer.FromKey(signertest.Key(t, kind))
	der, err := pki.NewRequest(rand.Reader, key, names)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	csr, cert := filepath.Join(dir, "csr.pem"), filepath.Join(dir, "cert.pem")
	writePEM(t, csr, "CERTIFICATE REQUEST", der)
	run(t, "openssl", "req", "-in", csr, "-noout", "-verify")

	request, err := pki.ParseRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := pki.NewSerial(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	notBefore, notAfter := pki.Validity(issuer.Certificate, now, lifetime)
	c, err := pki.Issue(rand.Reader, issuer, pki.Template{
		Profile: profile, Names: pki.NamesOfRequest(request), PublicKey: request.PublicKey,
		Serial: serial, NotBefore: notBefore, NotAfter: notAfter, CRLDistributionPoints: []string{"http://ca.example.com/crl"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.NotAfter.After(issuer.Certificate.NotAfter) || !bytes.Equal(c.AuthorityKeyId, issuer.Certificate.SubjectKeyId) || len(c.SubjectKeyId) != 20 {
		t.Errorf("ends at %v, key identifiers %x, %x", c.NotAfter, c.AuthorityKeyId, c.SubjectKeyId)
	}
	writePEM(t, cert, "CERTIFICATE", c.Raw)
	purpose := map[string]string{"client": "sslclient", "server": "sslserver", "intermediate": "any"}[profile.Name]
	run(t, "openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", root, cert)
	run(t, "certtool", "--verify", "--load-ca-certificate", root, "--infile", cert)

	text := run(t, "openssl", "x509", "-in", cert, "-noout", "-text", "-nameopt", "utf8,-esc_msb,sep_comma_plus_space")
	want := []string{"CA:" + strings.ToUpper(fmt.Sprint(profile.IsCA)), "URI:http://ca.example.com/crl"}
	for _, name := range names.DNSNames {
		want = append(want, "DNS:"+name)
	}
	for _, u := range names.URIs {
		want = append(want, "URI:"+u.String())
	}
	for _, e := range names.EmailAddresses {
		want = append(want, "email:"+e)
	}
	if profile.IsCA {
		want = append(want, "pathlen:0", "Certificate Sign, CRL Sign")
	} else {
		want = append(want, "Digital Signature", map[string]string{"client": "TLS Web Client Authentication", "server": "TLS Web Server Authentication"}[profile.Name])
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("openssl does not show %q:\n%s", w, text)
		}
	}
}

func TestRevocationListsAreRead(t *testing.T) {
	signertest.Require(t, "openssl", "openssl")
	signertest.Require(t, "certtool", "certtool")
	now := time.Now()
	for _, kind := range []string{"rsa2048", "p256", "p384", "p521", "ed25519"} {
		t.Run(kind, func(t *testing.T) {
			issuer, root := newCA(t, kind, 0, now)
			notBefore, notAfter := pki.Validity(issuer.Certificate, now, time.Hour)
			var revoked []pki.Revocation
			var paths []string
			for i := range 3 {
				serial, err := pki.NewSerial(rand.Reader)
				if err != nil {
					t.Fatal(err)
				}
				c, err := pki.Issue(rand.Reader, issuer, pki.Template{Profile: pki.Client, Names: pki.CommonName("app"),
					PublicKey: signertest.Key(t, "p256").Public(), Serial: serial, NotBefore: notBefore, NotAfter: notAfter})
				if err != nil {
					t.Fatal(err)
				}
				paths = append(paths, filepath.Join(t.TempDir(), "cert.pem"))
				writePEM(t, paths[i], "CERTIFICATE", c.Raw)
				if i > 0 {
					revoked = append(revoked, pki.Revocation{Serial: serial, Time: now, Reason: []pki.Reason{pki.Unspecified, pki.KeyCompromise}[i-1]})
				}
			}
			der, err := pki.NewCRL(rand.Reader, issuer, big.NewInt(7), revoked, now, now.Add(7*24*time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			list := filepath.Join(t.TempDir(), "crl.pem")
			writePEM(t, list, "X509 CRL", der)
			text := run(t, "openssl", "crl", "-in", list, "-noout", "-text", "-CAfile", root)
			for _, w := range []string{"verify OK", "Key Compromise"} {
				if !strings.Contains(text, w) {
					t.Errorf("openssl does not show %q:\n%s", w, text)
				}
			}
			if list, err := x509.ParseRevocationList(der); err != nil || list.Number.Int64() != 7 || len(list.RevokedCertificateEntries) != 2 {
				t.Errorf("%v, %v", list, err)
			}
			run(t, "certtool", "--verify-crl", "--load-ca-certificate", root, "--infile", list)
			run(t, "openssl", "verify", "-crl_check", "-CRLfile", list, "-CAfile", root, paths[0])
			for _, path := range paths[1:] {
				if out, err := exec.Command("openssl", "verify", "-crl_check", "-CRLfile", list, "-CAfile", root, path).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("certificate revoked")) {
					t.Errorf("%v: %s", err, out)
				}
			}
		})
	}
}
