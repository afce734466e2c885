//go:build linux

package badinput

import (
	"crypto/x509"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// renewalCases are those of renew and enroll.
func renewalCases(p *pki) (all []badInput) {
	for _, group := range []func(*pki) []badInput{renewArguments, renewPrograms, renewStates, renewFiles, enrollCases} {
		all = append(all, group(p)...)
	}
	for i := range all {
		all[i].bare = true
	}
	return all
}

func renewCase(name string, code int, culprit, hint string, setup func(*scene), args ...string) badInput {
	return badInput{name: "renew: " + name, setup: setup, code: code, culprit: culprit, hint: hint,
		args: append([]string{"renew", "--certificate", "cert.pem", "--private-key", "key.pem"}, args...)}
}

func renewArguments(*pki) []badInput {
	const way = "--way"
	step := []string{way, "step-ca", "--ca-url", "https://127.0.0.1:1", "--ca-roots", "ca.pem"}
	with := func(args ...string) []string { return append(append([]string(nil), step...), args...) }
	anchor := func(s *scene) { s.write("ca.pem", s.caPEM) }
	return []badInput{
		renewCase("no key", front.ExitUsage, "--certificate", "cert.pem", nil, way, "command", "--certificate=", "--private-key=", "--", "true"),
		renewCase("no way", front.ExitUsage, "way", "--way command", nil),
		renewCase("unknown way", front.ExitUsage, `"acme"`, "step-ca", nil, way, "acme"),
		renewCase("needs a program", front.ExitUsage, "needs a program", "--", nil, way, "command"),
		renewCase("a program of another way", front.ExitUsage, "--way step-ca uses no program", "leave out the program", anchor, with("--", "true")...),
		renewCase("an argument", front.ExitUsage, "cert.pem", "--", nil, "cert.pem"),
		renewCase("program with flags without --", front.ExitUsage, "--renew", "-- PROGRAM", nil, way, "command", "holdfast", "ca", "issue", "--renew", "-"),
		renewCase("program before --", front.ExitUsage, `"true"`, "after --", nil, way, "command", "true", "--", "x"),
		renewCase("two modes", front.ExitUsage, "--loop", "one of them", nil, way, "command", "--if-due", "--loop", "--", "true"),
		renewCase("half of the ARNs", front.ExitUsage, "trust anchor ARN", "--trust-anchor-arn", nil, way, "command", "--role-arn", "arn:aws:iam::111122223333:role/demo", "--", "true"),
		renewCase("no file of the configuration", front.ExitNotFound, "no.toml", "name", nil, "--config", "no.toml"),
		renewCase("no URL", front.ExitUsage, "ca_url", "--ca-url", anchor, way, "step-ca", "--ca-roots", "ca.pem"),
		renewCase("no roots", front.ExitUsage, "ca_roots", "--ca-roots", nil, way, "step-ca", "--ca-url", "https://127.0.0.1:1"),
		renewCase("roots missing", front.ExitNotFound, "none.pem", "name", nil, with("--ca-roots", "none.pem")...),
		renewCase("roots are a folder", front.ExitOther, "ca.pem", "", func(s *scene) { s.must(os.Mkdir(s.path("ca.pem"), 0o700)) }, step...),
		renewCase("roots are text", front.ExitNotFound, "ca.pem", "PEM", write("ca.pem", []byte("none")), step...),
		renewCase("roots are a key", front.ExitNotFound, "key.pem", "PEM", nil, with("--ca-roots", "key.pem")...),
		renewCase("plain HTTP", front.ExitUsage, "http://127.0.0.1:1", "https", anchor, with("--ca-url", "http://127.0.0.1:1")...),
		renewCase("URL without a host", front.ExitUsage, "https://", "https", anchor, with("--ca-url", "https://")...),
		renewCase("URL with a user", front.ExitUsage, "user name", "", anchor, with("--ca-url", "https://user@ca.example")...),
		renewCase("URL is text", front.ExitUsage, "ca url", "https", anchor, with("--ca-url", "ca url")...),
		renewCase("no CA", front.ExitUsage, "ca_arn", "--ca-arn", nil, way, "private-ca"),
		renewCase("no session for the CA", front.ExitUsage, "no role is given", "--role-arn", nil, way, "private-ca", "--ca-arn", "x"),
		renewCase("days are text", front.ExitUsage, "--ca-days", "", nil, way, "private-ca", "--ca-days", "many"),
		renewCase("no folder of requests", front.ExitUsage, "needs requests", "--requests", nil, way, "folder"),
		renewCase("the folder of requests is missing", front.ExitUnreachable, "none", "name of the folder", withCA, way, "folder", "--trust-anchor", "ca.pem", "--requests", "none"),
		renewCase("the folder of requests is a file", front.ExitUnreachable, "key.pem is not a folder", "name of the folder", withCA, way, "folder", "--trust-anchor", "ca.pem", "--requests", "key.pem"),
		renewCase("the folder without a trust anchor", front.ExitUsage, "needs trust_anchor", "--trust-anchor", nil, way, "folder", "--requests", "."),
		renewCase("the trust anchor is missing", front.ExitNotFound, "none.pem", "", nil, way, "folder", "--requests", ".", "--trust-anchor", "none.pem"),
		renewCase("the trust anchor is a key", front.ExitOther, "key.pem", "certificate of the CA in PEM", nil, way, "folder", "--requests", ".", "--trust-anchor", "key.pem"),
		renewCase("a forgotten --", front.ExitUsage, "unknown flag: --renew", "after --", nil, way, "command", "holdfast", "ca", "issue", "--renew", "-"),
		renewCase("no role of Vault", front.ExitUsage, "ca_role", "--ca-role", anchor, way, "vault", "--ca-url", "https://127.0.0.1:1", "--ca-roots", "ca.pem"),
		renewCase("EST away", front.ExitUnreachable, "127.0.0.1:1", "network", anchor, way, "est", "--ca-url", "https://127.0.0.1:1", "--ca-roots", "ca.pem"),
		renewCase("Vault away", front.ExitUnreachable, "127.0.0.1:1", "network", anchor, way, "vault", "--ca-url", "https://127.0.0.1:1", "--ca-roots", "ca.pem", "--ca-role", "app"),
		renewCase("CA away", front.ExitUnreachable, "127.0.0.1:1", "network", anchor, step...),
	}
}

// program makes the script get, which renew runs.
func program(text string) func(*scene) {
	return func(s *scene) {
		s.write("get", []byte("#!/bin/sh\n"+text+"\n"))
		s.must(os.Chmod(s.path("get"), 0o700))
		s.write("new.pem", signertest.CertPEM(s.ca.Issue(s, s.key, nil)))
	}
}

// printed makes a program that prints a certificate for the key, changed.
func printed(change func(*x509.Certificate)) func(*scene) {
	return steps(program("cat new.pem"), func(s *scene) { s.write("new.pem", signertest.CertPEM(s.ca.Issue(s, s.key, change))) })
}

// withCA writes the certificate of the CA.
func withCA(s *scene) { s.write("ca.pem", s.caPEM) }

func renewPrograms(*pki) (all []badInput) {
	for _, c := range []struct {
		name, culprit, hint string
		setup               func(*scene)
	}{
		{"nothing", "no certificate", "only certificates", program("exit 0")},
		{"text", "no certificate", "only certificates", program("echo hello")},
		{"half a certificate", "no certificate", "only certificates", program("head -c 200 new.pem")},
		{"a damaged certificate", "damaged", "only certificates", program(`printf -- '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'`)},
		{"a request", "CERTIFICATE REQUEST", "only certificates", program("cat")},
		{"a key", "PRIVATE KEY", "only certificates", program("cat new.pem key.pem")},
		{"a line without an end", "1024 KiB", "", program("exec yes | tr -d '\\n'")},
		{"output without an end", "1024 KiB", "", program("exec yes")},
		{"log without an end", "1024 KiB", "", program("exec yes >&2")},
		{"exit code 2", "refuses", "another request", program("echo why >&2; exit 2")},
		{"exit code 3", "cannot be reached", "same request", program("exit 3")},
		{"exit code 5", "wait for 1h0m0s", "later", program("echo 3600; exit 5")},
		{"exit code 5 without a time", "not issued the certificate yet", "later", program("exit 5")},
		{"exit code 1", "exit status 1: why", "", program("echo other; echo why >&2; exit 1")},
		{"a signal", "killed", "", program("kill -KILL $$")},
		{"control characters", "exit status 1", "", program(`printf '\033[31mred\n' >&2; exit 1`)},
		{"no interpreter", "get", "name of the program", func(s *scene) { s.write("get", []byte("#!/no/sh\n")); s.must(os.Chmod(s.path("get"), 0o700)) }},
		{"not executable", "get", "name of the program", write("get", []byte("#!/bin/sh\n"))},
		{"a folder", "get", "name of the program", func(s *scene) { s.must(os.Mkdir(s.path("get"), 0o700)) }},
		{"another key", "another key", "", steps(program("cat new.pem"), func(s *scene) {
			s.write("new.pem", signertest.CertPEM(s.ca.Issue(s, signertest.NewKey(s, "p256"), nil)))
		})},
		{"another subject", "another identity: subject", "--allow-change", printed(func(c *x509.Certificate) { c.Subject.CommonName = "evil" })},
		{"another name", "another identity: DNS names", "--allow-change", printed(func(c *x509.Certificate) { c.DNSNames = []string{"evil.example"} })},
		{"a CA certificate", "another identity", "--allow-change", printed(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })},
		{"another usage", "another identity: key usage", "--allow-change", printed(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement })},
		{"expired", "expired", "validity", printed(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })},
		{"not valid yet", "not valid before", "validity", printed(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })},
		{"the old one", "in use", "", program("cat cert.pem")},
		{"the CA alone", "certificate", "", steps(program("cat ca.pem"), func(s *scene) { s.write("ca.pem", s.caPEM) })},
		{"another CA with the same name", "another CA", "--allow-change", steps(program("cat new.pem"), func(s *scene) {
			s.write("new.pem", signertest.CertPEM(signertest.NewCA(s, s.ca.Cert.Subject.CommonName).Issue(s, s.key, nil)))
		})},
	} {
		all = append(all, renewCase("the program: "+c.name, front.ExitOther, c.culprit, c.hint, c.setup, "--way", "command", "--", "./get"))
		switch last := &all[len(all)-1]; c.name {
		case "exit code 2":
			last.code = front.ExitRefused
		case "exit code 3":
			last.code = front.ExitUnreachable
		case "no interpreter":
			last.code = front.ExitNotFound
		case "not executable", "a folder", "exit code 5", "exit code 5 without a time":
			last.code = front.ExitUnavailable
		}
	}
	all = append(all, renewCase("the program is missing", front.ExitNotFound, "get", "name of the program", nil, "--way", "command", "--", "./get"))
	return all
}

func renewStates(*pki) (all []badInput) {
	for _, c := range []struct {
		name, culprit, hint string
		code                int
		setup               func(*scene)
	}{
		{"a folder", "s", "", front.ExitOther, func(s *scene) { s.must(os.Mkdir(s.path("s"), 0o700)) }},
		{"a FIFO", "s", "", front.ExitOther, func(s *scene) { s.must(syscall.Mkfifo(s.path("s"), 0o600)) }},
	} {
		all = append(all, renewCase("the state: "+c.name, c.code, c.culprit, c.hint, steps(program("cat new.pem"), c.setup), "--state-file", "s", "--way", "command", "--", "./get"))
	}
	return append(all, renewCase("the state: no folder", front.ExitNotFound, "no/s", "", program("cat new.pem"), "--state-file", "no/s", "--way", "command", "--", "./get"))
}

// renewFiles are configuration files with a table [role.renew].
func renewFiles(*pki) (all []badInput) {
	const role = `[[role]]
name = "app"
certificate = "cert.pem"
private_key = "key.pem"
trust_anchor_arn = "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001"
profile_arn = "arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001"
role_arn = "arn:aws:iam::111122223333:role/demo"
[role.renew]
`
	for _, c := range []struct{ name, table, culprit, hint string }{
		{"empty", "", "[role.renew] has no way", "way ="},
		{"a number", "way = 7", "roles.toml", ""},
		{"unknown way", `way = "acme"`, `"acme"`, "step-ca"},
		{"unknown key", "way = \"command\"\nprogram = \"x\"", "renew.program", "docs/configuration.md"},
		{"command is text", "way = \"command\"\ncommand = \"get\"", "roles.toml", ""},
		{"command is empty", "way = \"command\"\ncommand = []", "needs a program", "[role.renew]"},
		{"no URL", "way = \"step-ca\"", "ca_url", "ca_url"},
		{"no CA", "way = \"private-ca\"", "ca_arn", "ca_arn"},
		{"a CA without ARN", "way = \"private-ca\"\nca_arn = \"ca\"", "not the ARN of a CA", "list-certificate-authorities"},
		{"days are text", "way = \"private-ca\"\nca_days = \"7\"", "ca_days", ""},
	} {
		for _, command := range []string{"renew", "serve", "update"} {
			all = append(all, badInput{name: fmt.Sprintf("%s: the table: %s", command, c.name), setup: write("roles.toml", []byte(role+c.table+"\n")),
				code: front.ExitUsage, culprit: c.culprit, hint: c.hint, args: []string{command, "--config", "roles.toml"}})
		}
	}
	return all
}

func enrollCases(p *pki) (all []badInput) {
	enroll := func(name string, code int, culprit, hint string, setup func(*scene), args ...string) {
		all = append(all, badInput{name: "enroll: " + name, setup: steps(func(s *scene) {
			s.write("ca.pem", s.caPEM)
			s.write("app.csr", requestPEM(s, s.key, nil))
			s.write("token", []byte("s3cret-token\n"))
		}, func(s *scene) {
			if setup != nil {
				setup(s)
			}
		}), code: code, culprit: culprit, hint: hint, secret: "s3cret-token",
			args: append([]string{"enroll", "--way", "step-ca", "--ca-url", "https://127.0.0.1:1", "--ca-roots", "ca.pem", "--csr", "app.csr", "--token-source", "file:token"}, args...)})
	}
	enroll("no request", front.ExitUsage, "--csr", "app.csr", nil, "--csr=")
	enroll("no token", front.ExitUsage, "--token-source", "file:token", nil, "--token-source=")
	enroll("no way", front.ExitUsage, "--way", "step-ca", nil, "--way=")
	enroll("a way without first certificates", front.ExitUsage, "--way", "step-ca", nil, "--way", "command")
	enroll("request missing", front.ExitNotFound, "no.csr", "name", nil, "--csr", "no.csr")
	enroll("request is a certificate", front.ExitOther, "cert.pem", "", nil, "--csr", "cert.pem")
	enroll("token missing", front.ExitNotFound, "no-token", "name", nil, "--token-source", "file:no-token")
	enroll("token too long", front.ExitOther, "token", "", write("token", make([]byte, 64<<10)))
	enroll("over a key", front.ExitOther, "key.pem", "another file", nil, "--out", "key.pem")
	enroll("over the certificate of another key", front.ExitOther, "other.pem", "another file", func(s *scene) {
		s.write("other.pem", signertest.CertPEM(s.ca.Issue(s, signertest.NewKey(s, "p256"), func(c *x509.Certificate) { c.Subject.CommonName = "other" })))
	}, "--out", "other.pem")
	enroll("a token that is none", front.ExitOther, "JSON Web Token", "step ca token", nil)
	enroll("no user name for EST", front.ExitOther, "a user name and a password", "USER:PASSWORD", nil, "--way", "est")
	enroll("an argument", front.ExitUsage, `"app.csr"`, "", nil, "app.csr")
	return all
}
