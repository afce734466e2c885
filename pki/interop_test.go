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
	profile.PathLength, profile.RolesAnywhere = pathLength, kind != "ed25519"
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

// A combination is a certificate with what it was made from.
type combination struct {
	kind, label, path string
	profile           pki.Profile
	names             pki.Names
	cert              *x509.Certificate
}

// OpenSSL and GnuTLS verify every certificate, and OpenSSL reads the same from
// it. Each program gets as many files at once as it accepts.
func TestOtherImplementationsAgree(t *testing.T) {
	signertest.Require(t, "openssl", "openssl")
	signertest.Require(t, "certtool", "certtool")
	now := time.Now()
	kinds := signertest.KeyKinds()
	issuers := make([]pki.Issuer, len(kinds))
	var roots []byte
	for i, kind := range kinds {
		issuers[i], _ = newCA(t, kind, 1, now)
		roots = append(roots, signertest.CertPEM(issuers[i].Certificate)...)
	}
	dir := t.TempDir()
	anchors := filepath.Join(dir, "roots.pem")
	if err := os.WriteFile(anchors, roots, 0o600); err != nil {
		t.Fatal(err)
	}
	var all []combination
	for _, kind := range kinds {
		for name, names := range namesCases(t) {
			request := checkRequest(t, dir, kind, names)
			for _, profile := range []pki.Profile{pki.Client, pki.Server, pki.Intermediate} {
				profile.RolesAnywhere = false // for names and keys that it lacks
				for life, lifetime := range map[string]time.Duration{"short": time.Hour, "too long": 100 * 365 * 24 * time.Hour} {
					n := len(all)
					c := combination{kind: kind, profile: profile, names: names, path: filepath.Join(dir, fmt.Sprintf("%d.pem", n)),
						label: fmt.Sprintf("%s %s %s %s, issued with %s", kind, profile.Name, name, life, kinds[n%len(kinds)])}
					c.cert = issue(t, issuers[n%len(kinds)], request, profile, now, lifetime)
					writePEM(t, c.path, "CERTIFICATE", c.cert.Raw)
					all = append(all, c)
				}
			}
		}
	}
	if len(all) < 200 {
		t.Errorf("only %d combinations", len(all))
	}
	for profile, purpose := range map[string]string{"client": "sslclient", "server": "sslserver", "intermediate": "any"} {
		args := []string{"verify", "-x509_strict", "-purpose", purpose, "-CAfile", anchors}
		for _, c := range all {
			if c.profile.Name == profile {
				args = append(args, c.path)
			}
		}
		run(t, "openssl", args...)
	}
	var bundle []byte
	for _, c := range all {
		run(t, "certtool", "--verify", "--load-ca-certificate", anchors, "--infile", c.path)
		bundle = append(bundle, signertest.CertPEM(c.cert)...)
	}
	certs := filepath.Join(dir, "all.pem")
	if err := os.WriteFile(certs, bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	texts := strings.Split(run(t, "openssl", "storeutl", "-noout", "-text", "-certs", certs), ": Certificate\n")[1:]
	if len(texts) != len(all) {
		t.Fatalf("openssl shows %d of %d certificates", len(texts), len(all))
	}
	for i, c := range all {
		c.checkText(t, texts[i])
	}
}

// checkRequest makes a request that OpenSSL verifies, and parses it.
func checkRequest(t *testing.T, dir, kind string, names pki.Names) *x509.CertificateRequest {
	t.Helper()
	der, err := pki.NewRequest(rand.Reader, signer.FromKey(signertest.Key(t, kind)), names)
	if err != nil {
		t.Fatal(err)
	}
	csr := filepath.Join(dir, "csr.pem")
	writePEM(t, csr, "CERTIFICATE REQUEST", der)
	run(t, "openssl", "req", "-in", csr, "-noout", "-verify")
	request, err := pki.ParseRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

func issue(t *testing.T, issuer pki.Issuer, request *x509.CertificateRequest, profile pki.Profile, now time.Time, lifetime time.Duration) *x509.Certificate {
	t.Helper()
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
	return c
}

// checkText compares the certificate with what OpenSSL shows.
func (c combination) checkText(t *testing.T, text string) {
	t.Helper()
	want := []string{"CA:" + strings.ToUpper(fmt.Sprint(c.profile.IsCA)), "URI:http://ca.example.com/crl"}
	for _, name := range c.names.DNSNames {
		want = append(want, "DNS:"+name)
	}
	for _, u := range c.names.URIs {
		want = append(want, "URI:"+u.String())
	}
	for _, e := range c.names.EmailAddresses {
		want = append(want, "email:"+e)
	}
	if c.profile.IsCA {
		want = append(want, "pathlen:0", "Certificate Sign, CRL Sign")
	} else {
		want = append(want, "Digital Signature", map[string]string{"client": "TLS Web Client Authentication", "server": "TLS Web Server Authentication"}[c.profile.Name])
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s: openssl does not show %q:\n%s", c.label, w, text)
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
				c, err := pki.Issue(rand.Reader, issuer, pki.Template{Profile: pki.Server, Names: pki.CommonName("app"),
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
