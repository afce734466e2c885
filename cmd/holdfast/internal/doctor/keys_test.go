//go:build unix

package doctor_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"os/exec"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/internal/sshagenttest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// programFlags are those for a key behind the program signer.
const programFlags = "--private-key exec:program={dir}/signer;key=app --certificate {dir}/cert.pem " + sessionFlags

// signerProgram writes the program, a shell script.
func signerProgram(script, mode string) func(*scene) {
	return func(s *scene) {
		if err := clitest.WriteProgram(s.path("signer"), []byte("#!/bin/sh\n"+script+"\n")); err != nil {
			s.Fatal(err)
		}
		if out, err := exec.Command("chmod", mode, s.path("signer")).CombinedOutput(); err != nil {
			s.Fatalf("%v: %s", err, out)
		}
	}
}

// brokenKeys are faults of files, keys and certificates.
var brokenKeys = []setup{
	{name: "key missing", args: goodFlags, prepare: remove("key.pem"), check: "files", seen: "key.pem does not exist", command: "ls", code: 3},
	{name: "certificate missing", args: goodFlags, prepare: remove("cert.pem"), check: "files", seen: "cert.pem does not exist", command: "ls", code: 3},
	{name: "key is a folder", args: goodFlags, prepare: steps(remove("key.pem"), write("key.pem/x", "")), check: "files", seen: "is a folder", command: "ls", code: 1},
	{name: "key empty", args: goodFlags, prepare: write("key.pem", ""), check: "files", seen: "key.pem is empty", command: "ls", code: 1},
	{name: "PIN file missing", args: goodFlags + " --pin-source file:{dir}/pin", check: "files", seen: "pin does not exist", command: "ls", code: 4},
	{name: "variable of the key not set", args: "--private-key env:KEY --certificate {dir}/cert.pem " + sessionFlags, check: "files", seen: "KEY", command: "export KEY", code: 3},
	{name: "key damaged", args: goodFlags, prepare: write("key.pem", "-----BEGIN PRIVATE KEY-----\nMIGH\n"), check: "key", seen: "key.pem", command: "holdfast list", code: 1},
	{name: "certificate instead of the key", args: "--private-key {dir}/cert.pem --certificate {dir}/cert.pem " + sessionFlags, check: "key", seen: "cert.pem", command: "holdfast list", code: 3},
	{name: "password wrong", args: goodFlags + " --pin-source file:{dir}/pin", prepare: steps(write("pin", "wrong\n"), encrypted),
		check: "key", seen: "the password in {dir}/pin is incorrect", command: "${EDITOR:-vi} +1 {dir}/pin", code: 4},
	{name: "key of another certificate", args: "--private-key {dir}/other.key --certificate {dir}/cert.pem " + sessionFlags,
		check: "match", seen: "certificate is for another key", command: "openssl pkey", code: 1},
	{name: "module missing", args: "--private-key pkcs11:token=x?module-path=/none.so --certificate {dir}/cert.pem " + sessionFlags, check: "key", seen: "/none.so", command: listModules(), code: 3},
	{name: "program missing", args: programFlags, check: "key", seen: "the program cannot be started: no such file", command: "ls -ldL '{dir}/signer'", code: 3},
	{name: "program that others can write", args: programFlags, prepare: signerProgram("exec cat", "757"), check: "key", seen: "can be written by other users (mode 0757)", command: "ls -ldL '{dir}/signer'", code: 5},
	{name: "program not executable", args: programFlags, prepare: signerProgram("exec cat", "644"), check: "key", seen: "permission denied", command: "ls -ldL '{dir}/signer'", code: 5},
	{name: "program ends", args: programFlags, prepare: signerProgram("echo no network >&2; exit 1", "755"), check: "key", seen: "has ended without an answer (exit status 1): no network",
		command: `echo '{"id":1,"request":"open","version":1,"key":"app"}' | '{dir}/signer'`, code: 5},
	{name: "program greets", args: programFlags, prepare: signerProgram("echo hello; exec cat", "755"), check: "key", seen: `: "hello"`, command: `| '{dir}/signer'`, code: 1},
	{name: "program without the key", args: programFlags, prepare: signerProgram(`read -r line; echo '{"id":1,"error":{"code":"not-found","message":"no key app"}}'`, "755"),
		check: "key", seen: "the program answers not-found: no key app", command: `| '{dir}/signer'`, code: 3},
	{name: "program hangs", args: programFlags + " --timeout 1s", prepare: signerProgram("exec sleep 1000", "755"), check: "key", seen: "the program does not answer", command: `| '{dir}/signer'`, code: 5},
	{name: "other CA in the trust anchor", args: goodFlags + " --trust-anchor {dir}/other.pem",
		prepare: func(s *scene) { s.write("other.pem", string(signertest.CertPEM(signertest.NewCA(s, "other").Cert))) },
		check:   "chain", seen: `the trust anchor contains "CN=other"`, command: "aws rolesanywhere get-trust-anchor", code: 1},
	{name: "CA of the same name in the trust anchor", args: goodFlags + " --trust-anchor {dir}/other.pem",
		prepare: func(s *scene) { s.write("other.pem", string(signertest.CertPEM(signertest.NewCA(s, "root").Cert))) },
		check:   "chain", seen: "but has another key", command: "aws rolesanywhere get-trust-anchor", code: 1},
	{name: "intermediate missing", args: goodFlags + " --trust-anchor {dir}/ca.pem",
		prepare: func(s *scene) { s.write("cert.pem", string(signertest.CertPEM(s.ca.Issue(s, s.key, nil)))) },
		check:   "chain", seen: `"CN=client" was issued by "CN=intermediate", but the trust anchor contains "CN=root"`, command: "get-trust-anchor", code: 1},
	{name: "intermediate missing that has an address", args: goodFlags + " --trust-anchor {dir}/ca.pem",
		prepare: func(s *scene) {
			s.write("cert.pem", string(signertest.CertPEM(s.ca.Issue(s, s.key, func(c *x509.Certificate) { c.IssuingCertificateURL = []string{"http://ca.example/i.cer"} }))))
		},
		check: "chain", seen: `issued by "CN=intermediate"`, command: "curl -so issuer.cer http://ca.example/i.cer && holdfast doctor", code: 1},
	{name: "leaf as trust anchor", args: goodFlags + " --trust-anchor {dir}/cert.pem", check: "chain", seen: "not a CA certificate", command: "get-trust-anchor", code: 1},
	{name: "trust anchor missing", args: goodFlags + " --trust-anchor {dir}/none.pem", check: "chain", seen: "none.pem", command: "get-trust-anchor", code: 3},
	{name: "expired", args: goodFlags, prepare: issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		check: "rules", seen: "expired at", command: "openssl req -new", code: 1},
	{name: "not yet valid", args: goodFlags, prepare: issue(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }),
		check: "rules", seen: "not valid before", command: "set-ntp", code: 1},
	{name: "CA certificate", args: goodFlags, prepare: issue(func(c *x509.Certificate) { c.IsCA = true }), check: "rules", seen: "CA certificate", command: "openssl req -new", code: 1},
	{name: "no digitalSignature", args: goodFlags, prepare: issue(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }),
		check: "rules", seen: "digitalSignature", command: "keyUsage=critical,digitalSignature", code: 1},
	{name: "SHA-1", args: goodFlags, prepare: issue(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }), check: "rules", seen: "SHA-1", command: "openssl req -new", code: 1},
	{name: "empty subject", args: goodFlags, prepare: issue(func(c *x509.Certificate) { c.Subject = pkix.Name{} }), check: "rules", seen: "subject is empty", command: "openssl req -new", code: 1},
	{name: "Ed25519", args: goodFlags, prepare: func(s *scene) {
		s.key = signertest.NewKey(s, "ed25519")
		s.write("key.pem", string(signertest.KeyPEM(s, s.key)))
		s.issue(nil)
	}, check: "rules", seen: "Ed25519", command: "openssl req -new", code: 1},
	{name: "name that is no tag", args: goodFlags, prepare: issue(func(c *x509.Certificate) { c.Subject.OrganizationalUnit = []string{"R&D"} }),
		check: "tags", seen: "OU of x509Subject in the certificate", command: "delete-attribute-mapping --region us-east-1 --profile-id 00000000-0000-0000-0000-000000000001 \\\n--certificate-field x509Subject --specifiers OU", code: 1},
	{name: "name that is too long", args: goodFlags, prepare: issue(func(c *x509.Certificate) { c.DNSNames = []string{strings.Repeat("a", 250) + ".example"} }),
		check: "tags", seen: "DNS/2 of x509SAN in the certificate", command: "--certificate-field x509SAN --specifiers DNS", code: 1},
	{name: "no ssh-agent", args: agentFlags, env: []string{"SSH_AUTH_SOCK={dir}/none"}, check: "key", seen: "ssh-agent at {dir}/none: device is not available", command: "ssh-add -l", code: 5},
	{name: "SSH_AUTH_SOCK is not set", args: agentFlags, check: "key", seen: "SSH_AUTH_SOCK", command: "ssh-add -l", code: 5},
	{name: "key is not in the ssh-agent", args: agentFlags, prepare: func(s *scene) { inAgent(s, "ed25519") }, check: "key", seen: "lists 1 key, and none is the key of the certificate", command: "holdfast list", code: 3},
	{name: "P-384 in an ssh-agent", args: agentFlags, prepare: func(s *scene) {
		s.key = signertest.Key(s, "p384")
		s.issue(nil)
		inAgent(s, "p384")
	}, check: "key", seen: "does not sign with SHA-256 with a key of type ECDSA P-384", command: "ssh-keygen -t ecdsa -b 256", code: 5},
}

const agentFlags = "--private-key sshagent: --certificate {dir}/cert.pem " + sessionFlags

// inAgent starts an ssh-agent with a key.
func inAgent(s *scene, kind string) {
	agent := sshagenttest.Start(s, "")
	agent.Add(signertest.Key(s, kind), kind)
	s.env = append(s.env, "SSH_AUTH_SOCK="+agent.Socket)
}
