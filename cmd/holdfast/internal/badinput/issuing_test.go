//go:build linux

package badinput

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	issue "github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// issuingCases are those of csr and ca.
func issuingCases(p *pki) (all []badInput) {
	for _, group := range []func(*pki) []badInput{requestCases, requestedNames, caRenewalCases, folderCases, settingsCases, initCases} {
		all = append(all, group(p)...)
	}
	for i := range all {
		all[i].bare = true
	}
	return all
}

// authorityFolder makes the folder of a CA with two certificates, and a request.
func authorityFolder(s *scene) {
	now := time.Now()
	a, err := authority.Create(s.path("ca"), []*x509.Certificate{s.ca.Cert}, authority.Options{})
	s.must(err)
	notBefore, notAfter := issue.Validity(s.ca.Cert, now, time.Hour)
	for _, name := range []string{"one", "two"} {
		_, err := a.Issue(s.Context(), signer.FromKey(s.ca.Key), issue.Template{Profile: issue.Client, Names: issue.CommonName(name),
			PublicKey: s.key.Public(), NotBefore: notBefore, NotAfter: notAfter}, "")
		s.must(err)
	}
	s.write("ca-key.pem", signertest.KeyPEM(s, s.ca.Key))
	s.write("ca/ca.toml", []byte("private_key = \"../ca-key.pem\"\n"))
	s.write("app.csr", requestPEM(s, s.key, nil))
}

func requestPEM(s *scene, key crypto.Signer, change func(*x509.CertificateRequest)) []byte {
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "app"}}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	s.must(err)
	return blockOf("CERTIFICATE REQUEST", der)
}

func blockOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

var issueApp = []string{"ca", "issue", "--csr", "app.csr", "--subject", "CN=app"}

// requestCases are requests that ca issue refuses.
func requestCases(*pki) (all []badInput) {
	add := func(name string, code int, culprit, hint string, change func(*scene)) {
		all = append(all, badInput{name: "ca issue: " + name, args: issueApp, setup: steps(authorityFolder, change), code: code, culprit: culprit, hint: hint})
	}
	with := func(key func(*scene) crypto.Signer, change func(*x509.CertificateRequest)) func(*scene) {
		return func(s *scene) { s.write("app.csr", requestPEM(s, key(s), change)) }
	}
	own := func(s *scene) crypto.Signer { return s.key }
	extension := func(id ...int) func(*x509.CertificateRequest) {
		return func(r *x509.CertificateRequest) {
			r.ExtraExtensions = []pkix.Extension{{Id: id, Critical: true, Value: []byte{5, 0}}}
		}
	}
	altered := func(change func(der []byte) []byte) func(*scene) {
		return func(s *scene) {
			block, _ := pem.Decode(requestPEM(s, s.key, nil))
			s.write("app.csr", blockOf(block.Type, change(block.Bytes)))
		}
	}
	add("no request", front.ExitNotFound, "app.csr", "name", remove("app.csr"))
	add("an empty request", front.ExitOther, "app.csr", "holdfast csr", write("app.csr"))
	add("text", front.ExitOther, "app.csr", "holdfast csr", write("app.csr", []byte("please")))
	add("a folder", front.ExitOther, "app.csr", "", steps(remove("app.csr"), func(s *scene) { s.must(os.Mkdir(s.path("app.csr"), 0o700)) }))
	add("a FIFO", front.ExitOther, "app.csr", "", steps(remove("app.csr"), func(s *scene) { s.must(syscall.Mkfifo(s.path("app.csr"), 0o600)) }))
	add("a certificate", front.ExitOther, "CERTIFICATE REQUEST", "holdfast csr", func(s *scene) { s.write("app.csr", s.certPEM) })
	add("a private key", front.ExitOther, "private key", "certificate request, not the private key", func(s *scene) { s.write("app.csr", s.keyPEM) })
	add("a request with its key", front.ExitOther, "private key", "certificate request, not the private key", func(s *scene) {
		s.write("app.csr", append(requestPEM(s, s.key, nil), s.keyPEM...))
	})
	add("two requests", front.ExitOther, "more than one request", "holdfast csr", func(s *scene) {
		s.write("app.csr", bytes.Repeat(requestPEM(s, s.key, nil), 2))
	})
	add("a huge request", front.ExitOther, "64 KiB", "holdfast csr", with(own, func(r *x509.CertificateRequest) {
		for i := range 5000 {
			r.DNSNames = append(r.DNSNames, fmt.Sprintf("host-%d.example.com", i))
		}
	}))
	add("a request of 3 GiB", front.ExitOther, "app.csr", "", func(s *scene) { s.must(os.Truncate(s.path("app.csr"), 3<<30)) })
	add("half a request", front.ExitOther, "damaged", "holdfast csr", altered(func(der []byte) []byte { return der[:len(der)/2] }))
	add("a request with a tail", front.ExitOther, "damaged", "holdfast csr", altered(func(der []byte) []byte { return append(der, 0) }))
	add("another signature", front.ExitOther, "is not one of its key", "again with the key", altered(func(der []byte) []byte { der[len(der)-1] ^= 1; return der }))
	add("another subject", front.ExitOther, "is not one of its key", "again with the key", altered(func(der []byte) []byte { return bytes.Replace(der, []byte("app"), []byte("sys"), 1) }))
	add("the key of somebody else", front.ExitOther, "is not one of its key", "again with the key", func(s *scene) {
		block, _ := pem.Decode(requestPEM(s, s.key, nil))
		mine, err := x509.MarshalPKIXPublicKey(s.key.Public())
		s.must(err)
		theirs, err := x509.MarshalPKIXPublicKey(signertest.NewKey(s, "p256").Public())
		s.must(err)
		s.write("app.csr", blockOf(block.Type, bytes.Replace(block.Bytes, mine, theirs, 1)))
	})
	add("critical unknown extension", front.ExitOther, "1.2.3.4", "holdfast csr", with(own, extension(1, 2, 3, 4)))
	add("critical name constraints", front.ExitOther, "2.5.29.30", "holdfast csr", with(own, extension(2, 5, 29, 30)))
	add("critical policy", front.ExitOther, "2.5.29.32", "holdfast csr", with(own, extension(2, 5, 29, 32)))
	add("RSA of 1024 bits", front.ExitOther, "1024 bits", "2048", with(func(s *scene) crypto.Signer {
		key, err := rsa.GenerateKey(rand.Reader, 1024)
		s.must(err)
		return key
	}, nil))
	add("P-224", front.ExitUnavailable, "P-224", "holdfast csr", with(func(s *scene) crypto.Signer {
		key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
		s.must(err)
		return key
	}, nil))
	add("Ed25519", front.ExitOther, "Ed25519", "RSA or ECDSA", with(func(s *scene) crypto.Signer { return signertest.Key(s, "ed25519") }, nil))
	return all
}

// requestedNames are names and flags that ca issue and csr refuse.
func requestedNames(*pki) (all []badInput) {
	refuse := func(name string, code int, culprit, hint string, args ...string) {
		all = append(all, badInput{name: "ca issue: " + name, args: append([]string{"ca", "issue", "--csr", "app.csr"}, args...), setup: authorityFolder, code: code, culprit: culprit, hint: hint})
	}
	csr := func(name string, code int, culprit, hint string, args ...string) {
		all = append(all, badInput{name: "csr: " + name, args: append([]string{"csr", "--private-key", "key.pem"}, args...), code: code, culprit: culprit, hint: hint})
	}
	for _, c := range []struct{ name, culprit, hint, flag, value string }{
		{"a comma", `','`, "letters, digits", "--subject", `CN=a\,b`},
		{"a quotation mark", "contains", "letters, digits", "--subject", `CN=a\"b`},
		{"an asterisk", `"*"`, "letters, digits", "--subject", "CN=*"},
		{"a tag that is too long", "session tag", "", "--uri", "urn:" + strings.Repeat("x", 300)},
		{"a URI with a query", `'?'`, "letters, digits", "--uri", "https://example.com/?a"},
	} {
		args := []string{c.flag, c.value}
		if c.flag != "--subject" {
			args = append(args, "--subject", "CN=app")
		}
		refuse(c.name, front.ExitOther, c.culprit, c.hint, args...)
	}
	for _, c := range []struct{ name, culprit, flag, value string }{
		{"a slash form", "/CN=app", "--subject", "/CN=app"},
		{"no type", "TYPE=VALUE", "--subject", "app"},
		{"unknown type", "NOSUCH", "--subject", "NOSUCH=app"},
		{"empty value", "is empty", "--subject", "CN="},
		{"long common name", "longer than 64", "--subject", "CN=" + strings.Repeat("x", 65)},
		{"country", "two letters", "--subject", "C=Germany,CN=app"},
		{"DNS name with a space", "a b", "--dns", "a b"},
		{"DNS name that is a URL", "https://", "--dns", "https://example.com"},
		{"DNS name that is not ASCII", "xn--", "--dns", "zürich.example"},
		{"URI without a scheme", "has no scheme", "--uri", "/path"},
		{"no URI", "is not a URI", "--uri", "%zz"},
		{"no IP address", "10.0.0.256", "--ip", "10.0.0.256"},
		{"IP address with a zone", "fe80::1%eth0", "--ip", "fe80::1%eth0"},
		{"email without a host", "NAME@HOST", "--email", "app"},
	} {
		args := []string{c.flag, c.value}
		if c.flag != "--subject" {
			args = append(args, "--subject", "CN=app")
		}
		refuse(c.name, front.ExitUsage, c.culprit, "", args...)
		csr(c.name, front.ExitUsage, c.culprit, "", args...)
	}
	refuse("a server without a name", front.ExitUsage, "server certificate", "--dns", "--subject", "CN=web", "--profile", "server")
	for _, c := range []struct{ culprit, hint, name string }{{"10.0.0.1", "--ip", "10.0.0.1"}, {"a comma", "for each name", "a,b"}} {
		refuse("a DNS name that is none, "+c.name, front.ExitUsage, c.culprit, c.hint, "--subject", "CN=app", "--dns", c.name)
	}
	refuse("a file as an argument", front.ExitUsage, "other.csr", "--help", "other.csr")
	refuse("a flag of OpenSSL", front.ExitUsage, "--days", "--lifetime 30d", "--days", "30")
	refuse("no names", front.ExitUsage, "you gave no names", "--subject CN=app")
	refuse("only a DNS name", front.ExitOther, "subject is empty", "CN=app", "--dns", "a.example")
	refuse("names twice", front.ExitUsage, "--accept-csr-names", "only one", "--subject", "CN=x", "--accept-csr-names")
	refuse("the name of the CA", front.ExitOther, "name of its issuer", "", "--subject", "CN=root")
	refuse("unknown profile", front.ExitUsage, "nosuch", "ca issue --help", "--subject", "CN=x", "--profile", "nosuch")
	refuse("lifetime 0", front.ExitUsage, "--lifetime", "90d", "--subject", "CN=x", "--lifetime", "0d")
	refuse("endless lifetime", front.ExitUsage, "--lifetime", "90d", "--subject", "CN=x", "--lifetime", "99999999999999999999d")
	refuse("lifetime without a unit", front.ExitUsage, "--lifetime", "90d", "--subject", "CN=x", "--lifetime", "90")
	refuse("CRL in a file", front.ExitUsage, "file:///crl.pem", "http://", "--subject", "CN=x", "--crl-url", "file:///crl.pem")
	refuse("no folder", front.ExitNotFound, "nowhere", "--dir", "--dir", "nowhere", "--subject", "CN=x")
	refuse("key of another CA", front.ExitOther, "key.pem", "the key of the CA", "--subject", "CN=x", "--private-key", "key.pem")
	refuse("key missing", front.ExitNotFound, "none.pem", "name", "--subject", "CN=x", "--private-key", "none.pem")
	csr("no subject", front.ExitUsage, "--subject", "CN=app")
	csr("names from nowhere", front.ExitNotFound, "none.pem", "name", "--names-from", "none.pem")
	csr("names from a key", front.ExitNotFound, "key.pem", "certificate", "--names-from", "key.pem")
	csr("key missing", front.ExitNotFound, "none.pem", "name", "--subject", "CN=app", "--private-key", "none.pem")
	csr("no key in the file", front.ExitNotFound, "cert.pem", "--private-key", "--subject", "CN=app", "--private-key", "cert.pem")
	csr("an argument", front.ExitUsage, "extra", "csr --help", "extra")
	return all
}

// folderCases are folders that are damaged.
func folderCases(*pki) (all []badInput) {
	add := func(name string, code int, culprit, hint string, change func(*scene), args ...string) {
		if args == nil {
			args = issueApp
		}
		all = append(all, badInput{name: "ca: " + name, args: args, setup: steps(authorityFolder, change), code: code, culprit: culprit, hint: hint})
	}
	index := func(change func(lines []string) string) func(*scene) {
		return func(s *scene) {
			data, err := os.ReadFile(s.path("ca/index.jsonl"))
			s.must(err)
			s.write("ca/index.jsonl", []byte(change(strings.SplitAfter(strings.TrimSuffix(string(data), "\n"), "\n"))))
		}
	}
	add("index missing", front.ExitNotFound, "index.jsonl", "", remove("ca/index.jsonl"))
	add("index empty", front.ExitOther, "index.jsonl", "backup", write("ca/index.jsonl"))
	add("index torn in its first line", front.ExitOther, "empty", "backup", index(func(l []string) string { return l[0][:20] }))
	add("index without its first line", front.ExitOther, "line 1", "backup", index(func(l []string) string { return strings.Join(l[1:], "") + "\n" }))
	add("index without a line", front.ExitOther, "line 2", "backup", index(func(l []string) string { return l[0] + l[2] + "\n" }))
	add("index with a line twice", front.ExitOther, "line 3", "backup", index(func(l []string) string { return l[0] + l[1] + l[1] }))
	add("index altered", front.ExitOther, "line 3", "backup", index(func(l []string) string {
		return l[0] + strings.Replace(l[1], "CN=one", "CN=eve", 1) + l[2] + "\n"
	}))
	add("index of a later version", front.ExitOther, "version 2", "backup", index(func(l []string) string {
		return strings.Replace(l[0], `"version":1`, `"version":2`, 1)
	}))
	add("index of another CA", front.ExitOther, "another CA certificate", "backup", func(s *scene) {
		s.write("ca/ca.pem", signertest.CertPEM(signertest.NewCA(s, "other").Cert))
	})
	add("index is a FIFO", front.ExitOther, "index.jsonl", "", steps(remove("ca/index.jsonl"), func(s *scene) { s.must(syscall.Mkfifo(s.path("ca/index.jsonl"), 0o600)) }))
	add("index of 3 GiB", front.ExitOther, "larger than", "backup", func(s *scene) { s.must(os.Truncate(s.path("ca/index.jsonl"), 3<<30)) })
	add("index of zeros", front.ExitOther, "line 1", "backup", func(s *scene) { s.write("ca/index.jsonl", append(make([]byte, 1<<20), '\n')) })
	add("certificate of the CA missing", front.ExitNotFound, "ca.pem", "backup", remove("ca/ca.pem"))
	add("certificate of the CA is text", front.ExitNotFound, "ca.pem", "", write("ca/ca.pem", []byte("none")))
	add("certificate of the CA is damaged", front.ExitOther, "ca.pem", "", write("ca/ca.pem", blockOf("CERTIFICATE", []byte{0x30, 0})))
	add("folder is a file", front.ExitNotFound, "app.csr", "--dir", unchanged, "ca", "list", "--dir", "app.csr")
	add("expired", front.ExitOther, "expired at", "new CA", func(s *scene) {
		now := time.Now().UTC().Truncate(time.Second)
		old, err := issue.SelfSign(rand.Reader, signer.FromKey(s.ca.Key), issue.Template{Profile: issue.Root, Names: issue.CommonName("old"),
			Serial: big.NewInt(1), NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)})
		s.must(err)
		_, err = authority.Create(s.path("old"), []*x509.Certificate{old}, authority.Options{})
		s.must(err)
	}, append(issueApp[:len(issueApp):len(issueApp)], "--dir", "old")...)
	add("unknown serial number", front.ExitNotFound, "ffff", "ca list", unchanged, "ca", "revoke", "--serial", "ffff")
	add("serial number that is none", front.ExitUsage, "../..", "ca list", unchanged, "ca", "show", "--serial", "../../ca")
	add("two certificates", front.ExitUsage, "--certificate", "only one", unchanged, "ca", "revoke", "--serial", "00", "--certificate", "app.csr")
	add("no serial number", front.ExitUsage, "--serial", "ca list", unchanged, "ca", "revoke")
	add("unknown reason", front.ExitUsage, "whim", "ca revoke --help", unchanged, "ca", "revoke", "--serial", "00", "--reason", "whim")
	add("certificate of another CA", front.ExitOther, "CN=other", "--dir", func(s *scene) {
		s.write("other.pem", signertest.CertPEM(signertest.NewCA(s, "other").Issue(s, s.key, nil)))
	}, "ca", "revoke", "--certificate", "other.pem")
	add("the CA itself", front.ExitOther, "CA itself", "root cannot", unchanged, "ca", "revoke", "--certificate", "ca/ca.pem")
	add("revocation list of another CA", front.ExitOther, "not signed by this CA", "published", func(s *scene) {
		s.write("ca/crl.pem", blockOf("X509 CRL", signertest.NewCA(s, "other").Revoke(s)))
	}, "ca", "crl")
	add("revocation list is text", front.ExitOther, "crl.pem", "published", write("ca/crl.pem", []byte("none")), "ca", "crl")
	add("lifetime of a list", front.ExitUsage, "--lifetime", "90d", unchanged, "ca", "crl", "--lifetime", "soon")
	return all
}

func unchanged(*scene) {}

// settingsCases are ca.toml.
func settingsCases(*pki) (all []badInput) {
	add := func(name, culprit, hint, text string) {
		all = append(all, badInput{name: "ca.toml: " + name, args: []string{"ca", "issue", "--csr", "app.csr"},
			setup: steps(authorityFolder, write("ca/ca.toml", []byte(text))), code: front.ExitUsage, culprit: culprit, hint: hint})
	}
	key := `key = "` + strings.Repeat("00", 32) + `"` + "\n"
	add("text", "ca.toml", "", "none")
	add("unknown key", "privat_key", "docs/ca.md", "privat_key = \"x\"\n")
	add("unknown key of a profile", "usage", "docs/ca.md", "[profile.x]\nusage = []\n")
	add("unknown base", "nosuch", "", "[profile.x]\nbase = \"nosuch\"\n")
	add("unknown usage", "sign", "", "[profile.x]\nkey_usage = [\"sign\"]\n")
	add("usage of a CA", "keyCertSign", "", "[profile.x]\nkey_usage = [\"digitalSignature\", \"keyCertSign\"]\n")
	add("no digital signature", "digitalSignature", "", "[profile.x]\nkey_usage = [\"keyAgreement\"]\n")
	add("path length of a client", "path_length", "", "[profile.x]\npath_length = 1\n")
	add("lifetime", "lifetime", "90d", "[profile.x]\nlifetime = \"soon\"\n")
	add("CRL lifetime", "crl_lifetime", "90d", "crl_lifetime = \"soon\"\n")
	add("place of the list", "ftp://", "http://", "crl_distribution_points = [\"ftp://a/b\"]\n")
	add("allowance without a key", "number 1", "any_key", "[[allow]]\nsubject = \"CN=app\"\n")
	add("allowance with a short key", "SHA-256", "holdfast csr", "[[allow]]\nkey = \"00ff\"\nsubject = \"CN=app\"\n")
	add("allowance without a subject", "no subject", "", "[[allow]]\n"+key)
	add("allowance with both", "any_key", "", "[[allow]]\nany_key = true\n"+key+"subject = \"CN=app\"\n")
	add("allowance with a bad name", "a b", "", "[[allow]]\n"+key+"subject = \"CN=app\"\ndns = [\"a b\"]\n")
	add("allowance with a bad profile", "nosuch", "", "[[allow]]\n"+key+"subject = \"CN=app\"\nprofile = \"nosuch\"\n")
	add("allowance twice", "numbers 1 and 2", "remove one", strings.Repeat("[[allow]]\n"+key+"subject = \"CN=app\"\n", 2))
	add("a text for a list", "must be a list", "docs/ca.md", "[[allow]]\n"+key+"subject = \"CN=app\"\ndns = \"a\"\n")
	add("one bracket for two", "[[allow]], with two brackets", "docs/ca.md", "[allow]\n"+key+"subject = \"CN=app\"\n")
	add("a key twice", "private_key is given twice", "docs/ca.md", "private_key = \"a\"\nprivate_key = \"b\"\n")
	add("a number for a duration", "in quotation marks", "docs/ca.md", "[profile.x]\nlifetime = 30\n")
	add("a key below a section", "crl_lifetime", "above the first [section]", "[[allow]]\n"+key+"subject = \"CN=app\"\ncrl_lifetime = \"3d\"\n")
	add("bad key", "scheme", "", "private_key = \"nosuch:x\"\n[[allow]]\nany_key = true\nsubject = \"CN=app\"\n")
	add("no key", "--private-key", "--private-key", "[[allow]]\nany_key = true\nsubject = \"CN=app\"\n")
	all = append(all, badInput{name: "ca.toml: key is not in the list", args: []string{"ca", "issue", "--csr", "app.csr"},
		setup: steps(authorityFolder, write("ca/ca.toml", []byte("[[allow]]\n"+key+"subject = \"CN=app\"\n"))), code: front.ExitOther, culprit: "[[allow]]", hint: "[[allow]]"},
		badInput{name: "ca issue: --config missing", args: append(issueApp[:len(issueApp):len(issueApp)], "--config", "none.toml"), setup: authorityFolder, code: front.ExitNotFound, culprit: "none.toml", hint: "name"})
	return all
}

// initCases are those of ca init.
func initCases(*pki) (all []badInput) {
	add := func(name string, code int, culprit, hint string, setup func(*scene), args ...string) {
		all = append(all, badInput{name: "ca init: " + name, args: append([]string{"ca", "init"}, args...), setup: setup, code: code, culprit: culprit, hint: hint})
	}
	good := []string{"--private-key", "key.pem", "--plaintext-key", "--subject", "CN=CA"}
	with := func(args ...string) []string { return append(good[:len(good):len(good)], args...) }
	add("nothing", front.ExitUsage, "--private-key", "--generate", nil)
	add("no subject", front.ExitUsage, "--subject", "CN=", nil, "--private-key", "key.pem")
	add("key without a password", front.ExitOther, "key.pem", "--plaintext-key", nil, "--private-key", "key.pem", "--subject", "CN=CA")
	add("new key without a password", front.ExitPIN, "new.pem", "--plaintext-key", nil, "--private-key", "new.pem", "--generate", "p256", "--subject", "CN=CA")
	add("key exists", front.ExitOther, "key.pem", "leave out --generate", nil, with("--generate", "p256")...)
	add("unknown type", front.ExitUsage, "ed25519", "--generate p256", nil, with("--generate", "ed25519")...)
	add("Ed25519 key", front.ExitOther, "Ed25519", "RSA or ECDSA", func(s *scene) { s.write("key.pem", signertest.KeyPEM(s, signertest.Key(s, "ed25519"))) }, good...)
	add("folder in use", front.ExitOther, "folder ca ", "--dir", authorityFolder, good...)
	add("a second time", front.ExitOther, "already contains a CA", "ca issue --dir ca", authorityFolder, good...)
	add("folder of other files", front.ExitOther, "folder ca ", "--dir", func(s *scene) {
		s.must(os.Mkdir(s.path("ca"), 0o700))
		s.write("ca/mine", nil)
	}, good...)
	add("folder is a file", front.ExitOther, "cert.pem", "", nil, with("--dir", "cert.pem")...)
	add("folder below nothing it may write", front.ExitNotFound, "/proc", "", nil, with("--dir", "/proc/nowhere/ca")...)
	add("subject that is no tag", front.ExitUsage, "session tag", "letters", nil, with("--subject", `CN=Example\, Inc.`)...)
	add("negative path length", front.ExitUsage, "--path-length", "0", nil, with("--path-length", "-1")...)
	add("after the year 9999", front.ExitUsage, "--lifetime", "90d", nil, with("--lifetime", "9999999d")...)
	add("request and certificate", front.ExitUsage, "--request", "first", nil, with("--request", "--certificate", "cert.pem")...)
	add("subject and certificate", front.ExitUsage, "--certificate", "determines", nil, with("--certificate", "cert.pem")...)
	add("certificate of a machine", front.ExitOther, "CN=client", "", nil, "--private-key", "key.pem", "--plaintext-key", "--certificate", "cert.pem")
	add("certificate of another key", front.ExitOther, "ca.pem", "", func(s *scene) { s.write("ca.pem", s.caPEM) }, "--private-key", "key.pem", "--plaintext-key", "--certificate", "ca.pem")
	add("certificate missing", front.ExitNotFound, "none.pem", "name", nil, "--private-key", "key.pem", "--plaintext-key", "--certificate", "none.pem")
	return all
}
