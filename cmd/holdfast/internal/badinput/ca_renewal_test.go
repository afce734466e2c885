//go:build linux

package badinput

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	issue "github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/pki/cms"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// issuedTo returns the certificate of a name in the folder of the CA.
func issuedTo(s *scene, name string) (*authority.Authority, *x509.Certificate) {
	a, err := authority.Open(s.path("ca"), authority.Options{})
	s.must(err)
	list, err := a.List()
	s.must(err)
	for _, c := range list {
		if c.Subject == "CN="+name {
			cert, err := a.Certificate(c.Serial)
			s.must(err)
			return a, cert
		}
	}
	s.must(fmt.Errorf("no certificate for %s", name))
	return nil, nil
}

// signedCSR returns a request for names and the key wanted, which the key of cert signs.
func signedCSR(s *scene, cert *x509.Certificate, key, wanted crypto.Signer, names issue.Names) []byte {
	csr, err := issue.NewRequest(rand.Reader, signer.FromKey(wanted), names)
	s.must(err)
	return signedContent(s, cert, key, csr)
}

func signedContent(s *scene, cert *x509.Certificate, key crypto.Signer, content []byte) []byte {
	message, err := cms.Sign(s.Context(), signer.WithCertificates(signer.FromKey(key), signer.Certificates{Chain: []*x509.Certificate{cert}}), content, "", time.Now())
	s.must(err)
	return message
}

// caRenewalCases are requests for renewal that ca issue refuses, and flags that do not
// fit together.
func caRenewalCases(*pki) (all []badInput) {
	args := []string{"ca", "issue", "--renew", "app.p7"}
	add := func(name string, code int, culprit, hint string, change func(*scene), more ...string) {
		all = append(all, badInput{name: "ca issue --renew: " + name, args: append(args[:len(args):len(args)], more...), setup: steps(authorityFolder, change), code: code, culprit: culprit, hint: hint})
	}
	// message writes a request to renew the certificate of one.
	message := func(make func(s *scene, a *authority.Authority, old *x509.Certificate) []byte) func(*scene) {
		return func(s *scene) {
			a, old := issuedTo(s, "one")
			s.write("app.p7", make(s, a, old))
		}
	}
	good := func(s *scene, _ *authority.Authority, old *x509.Certificate) []byte {
		return signedCSR(s, old, s.key, s.key, issue.NamesOf(old))
	}
	altered := func(change func(der []byte) []byte) func(*scene) {
		return message(func(s *scene, a *authority.Authority, old *x509.Certificate) []byte {
			block, _ := pem.Decode(good(s, a, old))
			return change(block.Bytes)
		})
	}
	damaged := "holdfast csr --renew"
	add("no request", front.ExitNotFound, "app.p7", "name", unchanged)
	add("an empty request", front.ExitUsage, "it is empty", damaged, write("app.p7"))
	add("text", front.ExitUsage, "damaged", damaged, write("app.p7", []byte("please")))
	add("a folder", front.ExitOther, "app.p7", "", func(s *scene) { s.must(os.Mkdir(s.path("app.p7"), 0o700)) })
	add("a FIFO", front.ExitOther, "app.p7", "", func(s *scene) { s.must(syscall.Mkfifo(s.path("app.p7"), 0o600)) })
	add("a request of 3 GiB", front.ExitOther, "app.p7", "", func(s *scene) { s.write("app.p7", nil); s.must(os.Truncate(s.path("app.p7"), 3<<30)) })
	add("a large request", front.ExitUsage, "128 KiB", damaged, write("app.p7", make([]byte, 200<<10)))
	add("a plain request", front.ExitUsage, "CERTIFICATE REQUEST", damaged, func(s *scene) { s.write("app.p7", requestPEM(s, s.key, nil)) })
	add("a private key", front.ExitUsage, "PRIVATE KEY", damaged, func(s *scene) { s.write("app.p7", s.keyPEM) })
	add("half a request", front.ExitUsage, "damaged", damaged, altered(func(der []byte) []byte { return der[:len(der)/2] }))
	add("a request with a tail", front.ExitUsage, "SignedData in DER", damaged, altered(func(der []byte) []byte { return append(der, 0) }))
	add("an indefinite length", front.ExitUsage, "SignedData in DER", damaged, altered(func(der []byte) []byte { return append(append([]byte{0x30, 0x80}, der[4:]...), 0, 0) }))
	add("another signature", front.ExitUsage, "signature is wrong", damaged, altered(func(der []byte) []byte { der[len(der)-1] ^= 1; return der }))
	add("an altered request", front.ExitUsage, "changed after it was signed", damaged, altered(func(der []byte) []byte { return bytes.Replace(der, []byte("one"), []byte("two"), 1) }))
	add("something else that is signed", front.ExitUsage, "invalid certificate request", "holdfast csr", message(func(s *scene, _ *authority.Authority, old *x509.Certificate) []byte {
		return signedContent(s, old, s.key, []byte("please"))
	}))
	add("a request without the key", front.ExitUsage, "is not one of its key", "", message(func(s *scene, _ *authority.Authority, old *x509.Certificate) []byte {
		block, _ := pem.Decode(requestPEM(s, s.key, nil))
		block.Bytes[len(block.Bytes)-1] ^= 1
		return signedContent(s, old, s.key, block.Bytes)
	}))
	add("the name of another machine", front.ExitUsage, "other names", "with the names of the certificate", message(func(s *scene, _ *authority.Authority, old *x509.Certificate) []byte {
		return signedCSR(s, old, s.key, s.key, issue.CommonName("admin"))
	}))
	add("one more name", front.ExitUsage, "other names", "with the names of the certificate", message(func(s *scene, _ *authority.Authority, old *x509.Certificate) []byte {
		names := issue.NamesOf(old)
		names.DNSNames = []string{"admin.example.com"}
		return signedCSR(s, old, s.key, s.key, names)
	}))
	add("a certificate of another CA", front.ExitUsage, "did not issue", "folder of the CA", message(func(s *scene, _ *authority.Authority, old *x509.Certificate) []byte {
		other := signertest.NewCA(s, "root").Issue(s, s.key, func(c *x509.Certificate) { c.SerialNumber, c.RawSubject = old.SerialNumber, old.RawSubject })
		return signedCSR(s, other, s.key, s.key, issue.NamesOf(old))
	}))
	add("the key of somebody else", front.ExitUsage, "signature is wrong", damaged, message(func(s *scene, _ *authority.Authority, old *x509.Certificate) []byte {
		other := signertest.NewKey(s, "p256")
		return signedCSR(s, old, other, other, issue.NamesOf(old))
	}))
	add("revoked", front.ExitUsage, "was revoked at", "ca issue --csr", message(func(s *scene, a *authority.Authority, old *x509.Certificate) []byte {
		s.must(a.Revoke(s.Context(), fmt.Sprintf("%x", old.SerialNumber.Bytes()), issue.Unspecified))
		return good(s, a, old)
	}))
	add("superseded", front.ExitUsage, "superseded", "ca issue --csr", message(func(s *scene, a *authority.Authority, old *x509.Certificate) []byte {
		block, _ := pem.Decode(signedCSR(s, old, s.key, signertest.NewKey(s, "p256"), issue.NamesOf(old)))
		m, err := cms.Parse(block.Bytes)
		s.must(err)
		csr, err := issue.ParseRequest(m.Content)
		s.must(err)
		_, err = a.Renew(s.Context(), signer.FromKey(s.ca.Key), authority.Renewal{Old: old, Request: csr, Profile: func(string) (issue.Profile, error) { return issue.Client, nil }})
		s.must(err)
		return good(s, a, old)
	}))
	add("a key that is not supported", front.ExitUsage, "Ed25519", "", message(func(s *scene, _ *authority.Authority, old *x509.Certificate) []byte {
		return signedCSR(s, old, s.key, signertest.Key(s, "ed25519"), issue.NamesOf(old))
	}))
	add("the key of another CA", front.ExitOther, "key.pem", "the key of the CA", message(good), "--private-key", "key.pem")
	add("no duration", front.ExitUsage, "--allow-expired", "90d", message(good), "--allow-expired", "soon")
	add("a duration without a unit", front.ExitUsage, "--allow-expired", "90d", message(good), "--allow-expired", "7")
	add("names", front.ExitUsage, "the flags for names", "of the certificate that is renewed", message(good), "--subject", "CN=admin")
	add("another profile", front.ExitUsage, "--profile", "of the certificate that is renewed", message(good), "--profile", "server")
	add("a folder, too", front.ExitUsage, "--renew-folder", "only one", message(good), "--renew-folder", ".")
	for name, args := range map[string][]string{"ca issue --renew-folder: nowhere": {"none"}, "ca issue --renew-folder: a file": {"app.csr"}} {
		all = append(all, badInput{name: name, args: append([]string{"ca", "issue", "--renew-folder"}, args...), setup: authorityFolder,
			code: map[bool]int{true: front.ExitNotFound, false: front.ExitOther}[args[0] == "none"], culprit: args[0], hint: ""})
	}
	return all
}
