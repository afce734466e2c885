//go:build linux

package badinput

import (
	"crypto/x509"
	"os"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// installCases are those of install and verify, with the good key and certificate
// unless setup or later flags change them.
func installCases(p *pki) (all []badInput) {
	install := func(name string, code int, culprit, hint string, setup func(*scene), args ...string) {
		all = append(all, badInput{name: "install: " + name, bare: true, setup: setup, code: code, culprit: culprit, hint: hint,
			args: append([]string{"install", "--certificate", "cert.pem", "--private-key", "key.pem"}, args...)})
	}
	to := []string{"--to", "to.pem"}
	install("no flags", front.ExitUsage, "--certificate", "issued.pem", nil, "--certificate=", "--private-key=")
	install("no key", front.ExitUsage, "--private-key", "app.pem", nil, "--private-key=")
	install("an argument", front.ExitUsage, "cert.pem", "install --help", nil, "cert.pem")
	install("certificate missing", front.ExitNotFound, "no.pem", "name", nil, "--certificate", "no.pem")
	install("key missing", front.ExitNotFound, "no.pem", "name", nil, "--private-key", "no.pem")
	install("certificate is a request", front.ExitUnavailable, "cert.pem", "request", write("cert.pem", pemOf("CERTIFICATE REQUEST", p.leaf.Raw)))
	install("certificate cut", front.ExitOther, "cert.pem", "again", write("cert.pem", p.certPEM[:99]))
	install("certificate is a key", front.ExitNotFound, "key.pem", "certificate", nil, "--certificate", "key.pem")
	install("only the CA", front.ExitOther, "key.pem", "certificate", write("cert.pem", p.caPEM))
	install("certificate of another key", front.ExitOther, "key.pem", "issued for this key", func(s *scene) {
		s.write("cert.pem", signertest.CertPEM(s.ca.Issue(s, signertest.NewKey(s, "p256"), nil)))
	})
	install("attestation certificate", front.ExitNotFound, "attestation", "CA", func(s *scene) {
		s.write("cert.pem", signertest.CertPEM(signertest.Attestation(s, s.key)))
	})
	install("expired", front.ExitOther, "expired", "clock", issued(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }))
	install("intermediates missing", front.ExitNotFound, "no.pem", "name", nil, "--intermediates", "no.pem")
	install("encrypted key", front.ExitPIN, "key.pem", "--pin-source", openssl("pkcs8", "-topk8", "-in", "plain.pem", "-passout", "env:PW", "-out", "key.pem"))
	install("key of standard input without a place", front.ExitUnavailable, "place", "--to FILE", nil, "--private-key", "env:KEY")
	install("folder missing", front.ExitNotFound, "no/to.pem", "name", nil, "--to", "no/to.pem")
	install("to a folder", front.ExitOther, "to.pem", "name", func(s *scene) { s.must(os.Mkdir(s.path("to.pem"), 0o700)) }, to...)
	install("to a device", front.ExitOther, "/dev/null", "name", nil, "--to", "/dev/null")
	install("to a dangling link", front.ExitNotFound, "to.pem", "name", func(s *scene) { s.must(os.Symlink("nowhere", s.path("to.pem"))) }, to...)
	install("over a key", front.ExitOther, "to.pem", "--to FILE", func(s *scene) { s.write("to.pem", signertest.KeyPEM(s, signertest.NewKey(s, "p256"))) }, to...)
	install("over a text", front.ExitOther, "to.pem", "--to FILE", write("to.pem", []byte("dear diary")), append(to, "--replace")...)
	install("over another certificate", front.ExitOther, "to.pem", "--replace", func(s *scene) {
		s.write("to.pem", signertest.CertPEM(s.ca.Issue(s, signertest.NewKey(s, "p256"), nil)))
	}, to...)
	install("into PKCS #12", front.ExitUnavailable, "app.p12", "--to FILE", openssl("pkcs12", "-export", "-inkey", "plain.pem", "-in", "cert.pem", "-passout", "pass:", "-out", "app.p12"),
		"--private-key", "app.p12", "--to", "app.p12")
	install("into a file with two keys", front.ExitUnavailable, "key.pem", "--to FILE", write("key.pem", p.keyPEM, p.certPEM, p.keyPEM))
	install("folder without permission", front.ExitUnavailable, "to.pem", "user", func(s *scene) {
		s.must(os.Mkdir(s.path("no"), 0o755))
		for _, name := range []string{"key.pem", "cert.pem"} {
			s.must(os.Chmod(s.path(name), 0o644))
		}
	}, "--to", "no/to.pem")
	all[len(all)-1].nobody, all[len(all)-1].warning = true, "key.pem"

	verify := func(name string, code int, culprit, hint string, setup func(*scene), args ...string) {
		all = append(all, badInput{name: "verify: " + name, bare: true, setup: setup, code: code, culprit: culprit, hint: hint,
			args: append([]string{"verify", "--certificate", "cert.pem", "--private-key", "key.pem"}, args...)})
	}
	crl := []string{"--crl", "ca.crl"}
	verify("no flags", front.ExitUsage, "--certificate", "cert.pem", nil, "--certificate=", "--private-key=")
	verify("CRL missing", front.ExitNotFound, "ca.crl", "name", nil, crl...)
	verify("CRL empty", front.ExitOther, "ca.crl", "X509 CRL", write("ca.crl"), crl...)
	verify("CRL is a certificate", front.ExitOther, "ca.crl", "X509 CRL", write("ca.crl", p.certPEM), crl...)
	verify("CRL too large", front.ExitOther, "ca.crl", "expired", write("ca.crl", make([]byte, 300_001)), crl...)
	verify("CRL twice in a file", front.ExitOther, "ca.crl", "its own", func(s *scene) {
		list := pemOf("X509 CRL", s.ca.Revoke(s))
		s.write("ca.crl", append(list, list...))
	}, crl...)
	verify("CRL is a folder", front.ExitOther, "ca.crl", "X509 CRL", func(s *scene) { s.must(os.Mkdir(s.path("ca.crl"), 0o700)) }, crl...)
	verify("trust anchor missing", front.ExitNotFound, "ca.pem", "name", nil, "--trust-anchor", "ca.pem")
	verify("trust anchor is text", front.ExitOther, "ca.pem", "PEM", write("ca.pem", []byte("none")), "--trust-anchor", "ca.pem")
	verify("trust anchor is a key", front.ExitNotFound, "key.pem", "certificate", nil, "--trust-anchor", "key.pem")
	verify("encrypted key", front.ExitPIN, "key.pem", "--pin-source", openssl("pkcs8", "-topk8", "-in", "plain.pem", "-passout", "env:PW", "-out", "key.pem"))
	for i := range all {
		all[i].env = []string{"KEY=" + string(p.keyPEM)}
	}
	return all
}
