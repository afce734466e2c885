package blob_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestTrust verifies the signature of a good key with certificates that must or must not
// be trusted.
func TestTrust(t *testing.T) {
	root := signertest.NewCA(t, "root")
	issuer := root.Intermediate(t, "issuer")
	other, sameName := signertest.NewCA(t, "other"), signertest.NewCA(t, "root")
	key := signertest.Key(t, "p256")
	issued := func(by *signertest.CA, change func(*x509.Certificate)) []*x509.Certificate {
		leaf := by.Issue(t, key, func(c *x509.Certificate) {
			releaser(c)
			if change != nil {
				change(c)
			}
		})
		return append([]*x509.Certificate{leaf}, by.Chain()...)
	}
	good := issued(issuer, nil)
	authenticating := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
	limited := signertest.CA{Key: signertest.NewKey(t, "p256")}
	limited.Cert = root.Issue(t, limited.Key, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.Subject.CommonName = true, x509.KeyUsageCertSign, "limited"
	})
	forged := *good[0]
	forged.Raw = append([]byte(nil), forged.Raw...)
	forged.Raw[len(forged.Raw)-1] ^= 1
	changed := *good[0]
	changed.Raw = []byte(strings.Replace(string(changed.Raw), "Release 1", "Release 2", 1))
	for _, c := range []struct {
		name    string
		certs   []*x509.Certificate
		anchors []*x509.Certificate
		subject string
		want    []string // in the error; nil: trusted
	}{
		{"good", good, []*x509.Certificate{root.Cert}, subject, nil},
		{"two CAs", good, []*x509.Certificate{other.Cert, root.Cert}, subject, nil},
		{"an intermediate CA is trusted", good[:1], []*x509.Certificate{issuer.Cert}, subject, nil},
		{"another order", []*x509.Certificate{issuer.Cert, good[0]}, []*x509.Certificate{root.Cert}, subject, nil},
		{"with the root", append(good[:2:2], root.Cert), []*x509.Certificate{root.Cert}, subject, nil},
		{"another form of the name", good, []*x509.Certificate{root.Cert}, ` cn = "Release 1" , O=Example`, nil},
		{"any usage", issued(root, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), []*x509.Certificate{root.Cert}, subject, nil},
		{"no usages", issued(root, func(c *x509.Certificate) { c.ExtKeyUsage, c.KeyUsage = nil, 0 }), []*x509.Certificate{root.Cert}, subject, nil},

		{"another name", good, []*x509.Certificate{root.Cert}, "CN=Release 2,O=Example", []string{`that of "CN=Release 1,O=Example", not of "CN=Release 2,O=Example"`}},
		{"a part of the name", good, []*x509.Certificate{root.Cert}, "CN=Release 1", []string{"another signer"}},
		{"more than the name", good, []*x509.Certificate{root.Cert}, subject + ",C=DE", []string{"another signer"}},
		{"another order of the name", good, []*x509.Certificate{root.Cert}, "O=Example,CN=Release 1", []string{"another signer", "hint: the names differ"}},
		{"other letters", good, []*x509.Certificate{root.Cert}, "CN=release 1,O=Example", []string{"another signer"}},
		{"a longer name", issued(root, func(c *x509.Certificate) { c.Subject.CommonName = "Release 1,O=Example" }), []*x509.Certificate{root.Cert}, subject, []string{"another signer"}},
		{"another CA", good, []*x509.Certificate{other.Cert}, subject, []string{`was issued by "CN=root", which is not a trusted CA`}},
		{"another CA with the name", good, []*x509.Certificate{sameName.Cert}, subject, []string{`the key of that CA did not make the signature`}},
		{"no issuer", good[:1], []*x509.Certificate{root.Cert}, subject, []string{`was issued by "CN=issuer"`, "hint: check --trust-anchor"}},
		{"expired", issued(root, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), []*x509.Certificate{root.Cert}, subject, []string{" expired at ", "does not say when it was made", "--signer FILE"}},
		{"expired, of another CA", issued(root, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), []*x509.Certificate{other.Cert}, subject, []string{"not a trusted CA"}},
		{"expired, with another name", issued(root, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), []*x509.Certificate{root.Cert}, "CN=x", []string{"another signer"}},
		{"not valid yet", issued(root, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), []*x509.Certificate{root.Cert}, subject, []string{"is not valid before", "clock"}},
		{"for authentication", issued(root, authenticating), []*x509.Certificate{root.Cert}, subject, []string{"lack codeSigning"}},
		{"its issuer for authentication", append(issued(&limited, nil), limited.Cert), []*x509.Certificate{root.Cert}, subject, []string{"lack codeSigning"}},
		{"not for signatures", issued(root, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), []*x509.Certificate{root.Cert}, subject, []string{"lacks digitalSignature"}},
		{"a CA as the signer", []*x509.Certificate{issuer.Cert}, []*x509.Certificate{root.Cert}, "CN=issuer", []string{`the certificate "CN=issuer" is that of a CA`}},
		{"the trusted CA as the signer", []*x509.Certificate{root.Cert}, []*x509.Certificate{root.Cert}, "CN=root", []string{"is that of a CA"}},
		{"the signer as the CA", good[:1], good[:1], subject, []string{"--trust-anchor ca.pem: the certificate", "is not that of a CA", "--signer"}},
		{"SHA-1", issued(root, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }), []*x509.Certificate{root.Cert}, subject, []string{"is signed with ECDSA-SHA1"}},
		{"a byte of its signature", []*x509.Certificate{&forged, issuer.Cert}, []*x509.Certificate{root.Cert}, subject, []string{"no path leads"}},
		{"a byte of its name", []*x509.Certificate{&changed, issuer.Cert}, []*x509.Certificate{root.Cert}, "CN=Release 2,O=Example", []string{"no path leads"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFolder(t)
			f.write("key.pem", signertest.KeyPEM(t, key))
			f.write("app", []byte("the program\n"))
			f.good("sign-blob", "--private-key", "key.pem", "app")
			f.write("app.sig.pem", signertest.CertPEM(c.certs...))
			f.write("ca.pem", signertest.CertPEM(c.anchors...))
			args := []string{"verify-blob", "--trust-anchor", "ca.pem", "--subject", c.subject, "app"}
			if c.want != nil {
				f.bad(front.ExitOther, args, append(c.want, "hint: ")...)
				return
			}
			if got := f.good(args...); !strings.HasPrefix(got, "app: signed by CN=Release 1,O=Example (certificate SHA-256 ") {
				t.Errorf("%q", got)
			}
			// The certificate is another one's although it is trusted.
			f.write("key.pem", signertest.KeyPEM(t, signertest.NewKey(t, "p256")))
			f.write("app.sig", []byte(f.good("sign-blob", "--private-key", "key.pem", "--signature", "-", "app")))
			f.bad(front.ExitOther, args, "app: the signature does not verify: app.sig is not a signature of it by CN=Release 1")
		})
	}
}

// A pinned certificate is not checked: it has no end, no issuer and no usage.
func TestPinned(t *testing.T) {
	f := newFolder(t)
	key := signertest.Key(t, "p256")
	f.write("key.pem", signertest.KeyPEM(t, key))
	f.write("app", []byte("the program\n"))
	f.good("sign-blob", "--private-key", "key.pem", "app")
	ca := signertest.NewCA(t, "root")
	expired := ca.Issue(t, key, func(c *x509.Certificate) { c.NotAfter, c.KeyUsage = time.Now().Add(-time.Minute), 0 })
	f.write("pinned.pem", signertest.CertPEM(expired, ca.Cert))
	if got := f.good("verify-blob", "--signer", "pinned.pem", "app"); !strings.HasPrefix(got, "app: signed by CN=client (") {
		t.Errorf("%q", got)
	}
	f.write("ca.pem", signertest.CertPEM(ca.Cert))
	f.bad(front.ExitOther, []string{"verify-blob", "--signer", "ca.pem", "app"}, "is not a signature of it by CN=root", "--trust-anchor with --subject")
	f.bad(front.ExitNotFound, []string{"verify-blob", "--signer", "key.pem", "app"}, "key.pem")

	good := f.read("app.sig")
	for form, text := range map[string]string{
		"base64": "MEUCIQDg1Dd0h3v0\nAiBk\n", "hexadecimal": "3045 0221 00e0\n", "PEM": "-----BEGIN SIGNATURE-----\nMEUCIQ==\n-----END SIGNATURE-----\n",
	} {
		f.write("app.sig", []byte(text))
		f.bad(front.ExitOther, []string{"verify-blob", "--signer", "pinned.pem", "app"}, "app.sig: is "+form+", not the raw bytes of a signature", "hint: ")
	}
	f.write("app.sig", nil)
	f.bad(front.ExitOther, []string{"verify-blob", "--signer", "pinned.pem", "app"}, "app.sig: is empty")
	f.write("app.sig", append(good, make([]byte, 8<<10)...))
	f.bad(front.ExitOther, []string{"verify-blob", "--signer", "pinned.pem", "app"}, "app.sig: is larger than 8 KiB")
	if err := os.Remove("app.sig"); err != nil {
		t.Fatal(err)
	}
}

// RSA keys of fewer than 2048 bits are refused, although the CA is trusted or the
// certificate or the key is pinned, and also as the key of a CA.
func TestShortRSA(t *testing.T) {
	f := newFolder(t)
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	root := signertest.NewCA(t, "root")
	app := []byte("the program\n")
	f.write("app", app)
	digest := sha256.Sum256(app)
	sig, err := rsa.SignPKCS1v15(nil, short, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(short.Public())
	if err != nil {
		t.Fatal(err)
	}
	f.write("app.sig", sig)
	f.write("app.sig.pem", signertest.CertPEM(root.Issue(t, short, releaser)))
	f.write("key.pem", signertest.KeyPEM(t, short))
	f.write("pub.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))
	f.write("ca.pem", signertest.CertPEM(root.Cert))
	trusting := []string{"verify-blob", "--trust-anchor", "ca.pem", "--subject", subject, "app"}
	for _, args := range [][]string{
		trusting, {"verify-blob", "--signer", "app.sig.pem", "app"}, {"verify-blob", "--signer", "pub.pem", "app"},
		{"sign-blob", "--private-key", "key.pem", "--signature", "-", "app"},
	} {
		f.bad(front.ExitOther, args, "RSA-1024: RSA keys of fewer than 2048 bits are too weak for signatures", "hint: ")
	}

	weak := signertest.CA{Key: short}
	weak.Cert = root.Issue(t, short, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage, c.Subject.CommonName = true, x509.KeyUsageCertSign, nil, "weak"
	})
	key := signertest.Key(t, "p256")
	f.write("key.pem", signertest.KeyPEM(t, key))
	if err := os.Remove("app.sig.pem"); err != nil {
		t.Fatal(err)
	}
	f.good("sign-blob", "--private-key", "key.pem", "--force", "app")
	f.write("app.sig.pem", signertest.CertPEM(weak.Issue(t, key, releaser), weak.Cert))
	f.bad(front.ExitOther, trusting, `the key of the certificate "CN=weak" is RSA-1024: RSA keys`, "hint: ")

	// The same CA has another certificate, from a second trusted one whose key is long
	// but which is not for code: neither of the two paths is good in all respects.
	strong := signertest.NewKey(t, "p256")
	issue := func(by *signertest.CA, usage x509.ExtKeyUsage) *x509.Certificate {
		return by.Issue(t, strong, func(c *x509.Certificate) {
			c.IsCA, c.KeyUsage, c.ExtKeyUsage, c.Subject.CommonName = true, x509.KeyUsageCertSign, []x509.ExtKeyUsage{usage}, "issuer"
		})
	}
	forCode, forClients := issue(&weak, x509.ExtKeyUsageCodeSigning), issue(root, x509.ExtKeyUsageClientAuth)
	issuer := signertest.CA{Key: strong, Cert: forCode}
	f.write("app.sig.pem", signertest.CertPEM(issuer.Issue(t, key, releaser), forCode, weak.Cert, forClients))
	f.bad(front.ExitOther, trusting, "lack codeSigning", "hint: ")
	f.write("app.sig.pem", signertest.CertPEM(issuer.Issue(t, key, releaser), forCode, weak.Cert, issue(root, x509.ExtKeyUsageCodeSigning)))
	f.good(trusting...)
}

func TestVerifyUsage(t *testing.T) {
	f := newSigner(t, "p256")
	f.good(signApp...)
	for args, want := range map[string]string{
		"":                                     "a certificate that lies beside a file proves nothing",
		"--certificate cert.pem":               "a certificate that lies beside a file proves nothing",
		"--subject CN=x":                       "--subject is given without --trust-anchor",
		"--trust-anchor ca.pem":                "--subject is not given",
		"--trust-anchor ca.pem --subject=":     "--subject is an empty text",
		"--trust-anchor= --subject CN=x":       "--trust-anchor is an empty text",
		"--signer= --trust-anchor ca.pem":      "--signer is an empty text",
		"--signer cert.pem --subject CN=x":     "--signer cannot be used with --subject",
		"--signer cert.pem --certificate x":    "--signer cannot be used with --certificate",
		"--signer a --trust-anchor b":          "--signer cannot be used with --trust-anchor",
		"--signer pkcs11:token=x":              "is not a file",
		"--signer -":                           "is not a file",
		"--signer cert.pem --signature=":       "--signature is an empty text",
		"--trust-anchor ca.pem --subject x":    `--subject "x": contains a part that is not TYPE=VALUE`,
		"--trust-anchor ca.pem --subject /O=x": "form of RFC 4514",
	} {
		f.bad(front.ExitUsage, append(append([]string{"verify-blob"}, strings.Fields(args)...), "app"), want, "hint: ")
	}
}
