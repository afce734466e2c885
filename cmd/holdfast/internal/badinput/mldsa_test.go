//go:build linux

package badinput

import (
	"os/exec"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// mldsaFiles replaces key.pem and cert.pem by an ML-DSA key and its certificate, and
// makes a request app.csr. openssl then stands for the OpenSSL that made them.
func mldsaFiles(s *scene) {
	signertest.IssueMLDSA(s, s.dir, "ML-DSA-65", "seed-priv")
	openssl35("req", "-new", "-config", "", "-key", "key.pem", "-subj", "/CN=app", "-out", "app.csr")(s)
	s.write("ca.pem", s.caPEM)
	s.write("token", []byte("s3cret-token\n"))
}

// openssl35 runs an OpenSSL that knows ML-DSA in the folder.
func openssl35(args ...string) func(*scene) {
	return func(s *scene) {
		cmd := exec.Command(signertest.OpenSSL35(s), args...)
		cmd.Dir = s.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			s.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
	}
}

// mldsaCases are what cannot be done with ML-DSA keys, and keys that are not those of
// their certificates.
func mldsaCases(*pki) (all []badInput) {
	const needsNewer = "this version of Holdfast makes no certificate requests and no certificates for ML-DSA-65 keys"
	for _, c := range []struct {
		name, hint string
		args       []string
	}{
		{"csr", "openssl req -new -key FILE -subj /CN=NAME -out FILE.csr", []string{"csr", "--private-key", "key.pem", "--subject", "CN=app"}},
		{"csr with names", "openssl req -new", []string{"csr", "--private-key", "key.pem", "--names-from", "cert.pem", "--out", "new.csr"}},
		{"csr --renew", "openssl req -new", []string{"csr", "--private-key", "key.pem", "--renew", "cert.pem"}},
		{"ca init", "openssl req -x509 -new", []string{"ca", "init", "--private-key", "key.pem", "--plaintext-key", "--subject", "CN=CA"}},
		{"ca init --certificate", "such as P-256", []string{"ca", "init", "--private-key", "root-key.pem", "--plaintext-key", "--certificate", "root.pem"}},
		{"ca init --request", "openssl req -new", []string{"ca", "init", "--private-key", "key.pem", "--plaintext-key", "--subject", "CN=CA", "--request"}},
		{"ca issue", "openssl req -config \"\" -x509 -in FILE.csr", issueApp},
		{"enroll", "let the CA issue the certificate with other software", []string{"enroll", "--way", "step-ca", "--ca-url", "https://127.0.0.1:1", "--ca-roots", "ca.pem", "--csr", "app.csr", "--token-source", "file:token"}},
		{"renew", "store it with holdfast install", []string{"renew", "--certificate", "cert.pem", "--private-key", "key.pem", "--way", "command", "--", "true"}},
		{"renew --if-due", "store it with holdfast install", []string{"renew", "--if-due", "--certificate", "cert.pem", "--private-key", "key.pem", "--way", "command", "--", "true"}},
		{"renew with a new key", "store it with holdfast install", []string{"renew", "--certificate", "cert.pem", "--private-key", "key.pem", "--rekey", "--way", "command", "--", "true"}},
	} {
		setup := mldsaFiles
		if c.name == "ca issue" {
			setup = func(s *scene) { authorityFolder(s); mldsaFiles(s) }
		}
		all = append(all, badInput{name: "ML-DSA: " + c.name, bare: true, args: c.args, setup: setup, secret: "s3cret-token",
			code: front.ExitUnavailable, culprit: needsNewer, hint: c.hint})
	}
	for _, args := range [][]string{{"generate", "--private-key", "new.pem", "--key-type", "ml-dsa-65"}, {"ca", "init", "--private-key", "new.pem", "--plaintext-key", "--subject", "CN=CA", "--generate", "ML-DSA-65"}} {
		all = append(all, badInput{name: "ML-DSA: " + args[0] + " of this type", bare: true, args: args, code: front.ExitUsage, culprit: "this version of Holdfast makes no"})
	}

	key := func(set string) func(*scene) { return openssl35("genpkey", "-algorithm", set, "-out", "key.pem") }
	for _, c := range []badInput{
		{name: "another key of the set", setup: steps(mldsaFiles, key("ML-DSA-65")), hint: "the certificate was issued for"},
		{name: "a key of another set", setup: steps(mldsaFiles, key("ML-DSA-87")), culprit: "your key is ML-DSA-87; the certificate \"CN=client\" contains ML-DSA-65", hint: "the certificate was issued for"},
		{name: "an ECDSA key", setup: func(s *scene) { mldsaFiles(s); s.write("key.pem", s.keyPEM) }, culprit: "your key is ECDSA P-256; the certificate \"CN=client\" contains ML-DSA-65", hint: "the certificate was issued for"},
		{name: "the certificate of an ECDSA key", setup: func(s *scene) { mldsaFiles(s); s.write("cert.pem", s.certPEM) }, culprit: "your key is ML-DSA-65; the certificate \"CN=client\" contains ECDSA P-256", hint: "the certificate was issued for"},
		{name: "certificate without digitalSignature", culprit: "cert.pem", hint: "digitalSignature", setup: steps(mldsaFiles, openssl35("req", "-x509", "-new", "-config", "", "-key", "key.pem",
			"-CA", "root.pem", "-CAkey", "root-key.pem", "-subj", "/CN=client", "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "keyUsage=critical,keyAgreement", "-out", "cert.pem"))},
		{name: "an SLH-DSA key", setup: steps(mldsaFiles, openssl35("genpkey", "-algorithm", "SLH-DSA-SHA2-128s", "-out", "key.pem")), code: front.ExitUnavailable, culprit: "key.pem"},
	} {
		c.name = "ML-DSA: " + c.name
		if c.code == 0 {
			c.code = front.ExitOther
		}
		all = append(all, c)
	}
	return all
}
