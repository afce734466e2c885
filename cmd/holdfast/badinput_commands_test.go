//go:build linux

package main

import (
	"crypto/x509"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// otherCommandCases are those of every command but credential-process.
func otherCommandCases(p *pki) (all []badInput) {
	usage := func(line, culprit, hint string) {
		all = append(all, badInput{name: "holdfast " + line, args: strings.Fields(line), code: exitUsage, culprit: culprit, hint: hint})
	}
	usage("demmo", "demmo", "demo")
	usage("--no-such-flag", "--no-such-flag", "help")
	usage("-5", "-5", "help")
	usage("help nosuch", "nosuch", "help")
	usage("help credential-process extra", "extra", "help")
	usage("version extra", "extra", "version --help")
	usage("version --jsn", "--jsn", "version --help")
	usage("version --json=maybe", "true or false", "JSON")
	usage("update extra", "extra", "update --help")
	usage("update --once --profile app", "--certificate", "--certificate cert.pem")
	usage("update --certificate cert.pem --profile=", "profile", "--profile")
	usage("update --certificate cert.pem --profile a#b", "a#b", "--profile")
	usage("demo extra", "extra", "demo --help")
	usage("demo --listen :1", "--listen", "demo --help")
	usage("completion ksh", "ksh", "completion")
	usage("completion bash extra", "extra", "completion bash --help")
	usage("emulator", "trust anchor", "--trust-anchor")
	usage("emulator --trust-anchor=", "--trust-anchor", "--trust-anchor")
	all = append(all, badInput{name: "demo without a temporary folder", args: []string{"demo"}, env: []string{"TMPDIR=/nowhere"}, code: exitNotFound, culprit: "/nowhere", hint: "name"})

	good := write("ca.pem", p.caPEM)
	busy := func(s *scene) (string, *atomic.Int32) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		s.must(err)
		s.Cleanup(func() { l.Close() })
		return "http://" + l.Addr().String(), new(atomic.Int32)
	}
	emulate := func(name string, code int, culprit, hint string, setup func(*scene), args ...string) {
		all = append(all, badInput{name: "emulator: " + name, args: append([]string{"emulator", "--listen", "127.0.0.1:0"}, args...),
			setup: setup, code: code, culprit: culprit, hint: hint})
	}
	anchor := []string{"--trust-anchor", "ca.pem"}
	with := func(args ...string) []string { return append(anchor[:2:2], args...) }
	emulate("trust anchor missing", exitNotFound, "ca.pem", "name", nil, anchor...)
	emulate("trust anchor empty", exitUsage, "ca.pem", "emulator --help", write("ca.pem"), anchor...)
	emulate("trust anchor is text", exitUsage, "ca.pem", "emulator --help", write("ca.pem", []byte("none")), anchor...)
	emulate("trust anchor is a key", exitUsage, "key.pem", "emulator --help", nil, "--trust-anchor", "key.pem")
	emulate("trust anchor is no CA", exitUsage, "CN=client", "CA:TRUE", nil, "--trust-anchor", "cert.pem")
	emulate("trust anchor is a folder", exitUsage, "ca.pem", "emulator --help", func(s *scene) { s.must(os.Mkdir(s.path("ca.pem"), 0o700)) }, anchor...)
	emulate("trust anchor is a FIFO", exitUsage, "ca.pem", "emulator --help", func(s *scene) { s.must(syscall.Mkfifo(s.path("ca.pem"), 0o600)) }, anchor...)
	emulate("trust anchor is endless", exitUsage, "/dev/zero", "emulator --help", nil, "--trust-anchor", "/dev/zero")
	emulate("trust anchor of 3 GiB", exitUsage, "ca.pem", "emulator --help", steps(good, func(s *scene) { s.must(os.Truncate(s.path("ca.pem"), 3<<30)) }), anchor...)
	emulate("CRL missing", exitNotFound, "ca.crl", "name", good, with("--crl", "ca.crl")...)
	emulate("CRL is text", exitUsage, "ca.crl", "emulator --help", steps(good, write("ca.crl", []byte("none"))), with("--crl", "ca.crl")...)
	emulate("trust policy missing", exitNotFound, "trust.json", "name", good, with("--trust-policy", "trust.json")...)
	emulate("trust policy empty", exitUsage, "trust.json", "emulator --help", steps(good, write("trust.json")), with("--trust-policy", "trust.json")...)
	emulate("trust policy is text", exitUsage, "trust.json", "emulator --help", steps(good, write("trust.json", []byte("allow all"))), with("--trust-policy", "trust.json")...)
	emulate("trust policy of another form", exitUsage, "trust.json", "emulator --help", steps(good, write("trust.json", []byte(`{"Statement":7}`))), with("--trust-policy", "trust.json")...)
	emulate("error rate 2", exitUsage, "error rate", "--help", good, with("--error-rate", "2")...)
	emulate("error rate NaN", exitUsage, "error rate", "--help", good, with("--error-rate", "NaN")...)
	emulate("error rate is text", exitUsage, "--error-rate", "0 to 1", good, with("--error-rate", "much")...)
	emulate("negative latency", exitUsage, "latency", "--help", good, with("--latency", "-1s")...)
	emulate("latency is text", exitUsage, "300ms", "answer", good, with("--latency", "long")...)
	emulate("negative lifetime", exitUsage, "lifetime", "--help", good, with("--session-lifetime", "-1s")...)
	emulate("unknown error status", exitUsage, "599", "--help", good, with("--error-status", "599")...)
	emulate("bad region", exitUsage, "nowhere", "--help", good, with("--region", "nowhere")...)
	emulate("bad account", exitUsage, "12", "--help", good, with("--account", "12")...)
	emulate("remote address", exitUsage, "0.0.0.0:0", "--allow-remote", good, with("--listen", "0.0.0.0:0")...)
	emulate("every address", exitUsage, ":0", "--allow-remote", good, with("--listen", ":0")...)
	emulate("address without a port", exitUsage, "127.0.0.1", "HOST:PORT", good, with("--listen", "127.0.0.1")...)
	emulate("address with a bad port", exitUsage, "99999", "HOST:PORT", good, with("--listen", "127.0.0.1:99999")...)
	emulate("events into a missing folder", exitNotFound, "no/events", "name", good, with("--events", "no/events")...)
	emulate("events into a folder", exitUsage, "events", "emulator --help", steps(good, func(s *scene) { s.must(os.Mkdir(s.path("events"), 0o700)) }), with("--events", "events")...)
	emulate("events into a FIFO without a reader", exitUsage, "events", "file", steps(good, func(s *scene) { s.must(syscall.Mkfifo(s.path("events"), 0o600)) }), with("--events", "events")...)
	all = append(all, badInput{name: "emulator: busy address", args: append([]string{"emulator", "--listen", "{addr}"}, anchor...), setup: good, serve: busy,
		code: exitUnavailable, culprit: "127.0.0.1:", hint: "--listen"})

	config := []string{"--config", "emulator.toml"}
	for _, c := range []struct{ name, text, culprit string }{
		{"is text", "no toml today", "emulator.toml"},
		{"is empty", "", "trust anchor"},
		{"has an unknown key", "regoin = \"us-east-1\"\n", "regoin"},
		{"has an unknown key in a table", "[[trust_anchors]]\ncertificate_file = [\"ca.pem\"]\n", "certificate_file"},
		{"has a number for a text", "region = 7\n", "emulator.toml"},
		{"has a bad duration", "[faults]\nlatency = \"long\"\n", "emulator.toml"},
		{"has no trust anchor", "region = \"us-east-1\"\n", "trust anchor"},
		{"has a trust anchor without a file", "[[trust_anchors]]\narn = \"\"\n", "trust anchor"},
		{"has a bad ARN", "[[trust_anchors]]\narn = \"app\"\ncertificate_files = [\"ca.pem\"]\n", "app"},
		{"names an unknown role", "[[trust_anchors]]\ncertificate_files = [\"ca.pem\"]\n[[profiles]]\nrole_arns = [\"" + roleARN + "\"]\n", roleARN},
		{"is not UTF-8", "region = \"\xff\x1b[2J\"\n", "emulator.toml"},
		{"is nested deeply", "x = " + strings.Repeat("[", 60<<10), "emulator.toml"},
		{"is of 1 MiB", strings.Repeat("#", 1<<20), "emulator.toml"},
	} {
		emulate("config "+c.name, exitUsage, c.culprit, "", steps(good, write("emulator.toml", []byte(c.text))), config...)
	}
	emulate("config missing", exitNotFound, "emulator.toml", "name", nil, config...)
	emulate("config names a missing file", exitNotFound, "no.pem", "name", write("emulator.toml", []byte("[[trust_anchors]]\ncertificate_files = [\"no.pem\"]\n")), config...)
	all = append(all, serveCases(p)...)
	for i := range all {
		all[i].bare = true
	}
	return all
}

// serveCases are those of serve and exec beyond what they share with
// credential-process.
func serveCases(p *pki) (all []badInput) {
	serve := func(name string, code int, culprit, hint string, setup func(*scene), args ...string) {
		line := append(append([]string{"serve", "--port", "0"}, goodFlags[1:]...), args...)
		all = append(all, badInput{name: "serve: " + name, args: line, setup: setup, code: code, culprit: culprit, hint: hint})
	}
	serve("no flags at all", exitUsage, "--certificate", "--private-key", nil, "--certificate=", "--private-key=")
	serve("port too high", exitUsage, "65536", "serve --help", nil, "--port", "65536")
	serve("port negative", exitUsage, "-1", "serve --help", nil, "--port", "-1")
	serve("port is text", exitUsage, "whole number", "port", nil, "--port", "x")
	serve("hop limit 0", exitUsage, "--hop-limit", "serve --help", nil, "--hop-limit", "0")
	serve("hop limit 256", exitUsage, "--hop-limit", "serve --help", nil, "--hop-limit", "256")
	serve("log format", exitUsage, "xml", "serve --help", nil, "--log-format", "xml")
	serve("every address", exitUsage, "0.0.0.0", "--allow-remote", nil, "--listen", "0.0.0.0")
	serve("no address", exitUsage, "--listen", "--allow-remote", nil, "--listen", "")
	serve("an address with a port", exitUsage, "127.0.0.1:1", "--allow-remote", nil, "--listen", "127.0.0.1:1")
	serve("a name that is not this machine", exitUsage, "example.com", "--allow-remote", nil, "--listen", "example.com")
	serve("status for everybody", exitUsage, "--status-listen", "--allow-remote", nil, "--status-listen", ":0")
	serve("status without a port", exitUsage, "127.0.0.1", "port", nil, "--status-listen", "127.0.0.1")
	serve("token file in a missing folder", exitNotFound, "no/", "name", nil, "--token-file", "no/token")
	serve("token file is a folder", exitOther, "token", "file", func(s *scene) { s.must(os.Mkdir(s.path("token"), 0o700)) }, "--token-file", "token")
	serve("token file is a FIFO", exitOther, "token", "file", func(s *scene) { s.must(syscall.Mkfifo(s.path("token"), 0o600)) }, "--token-file", "token")
	serve("token file is empty", exitOther, "token", "one line", write("token"), "--token-file", "token")
	serve("token file has two lines", exitOther, "token", "one line", write("token", []byte("a\nb")), "--token-file", "token")
	serve("token file is endless", exitOther, "/dev/zero", "file", nil, "--token-file", "/dev/zero")
	serve("certificate missing", exitNotFound, "none.pem", "name", nil, "--certificate", "none.pem")
	serve("certificate expired", exitOther, "expired", "renew", func(s *scene) {
		expired := s.ca.Issue(s, s.key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
		s.write("cert.pem", signertest.CertPEM(expired))
	})
	serve("bad role ARN", exitUsage, "role", "arn:aws:iam", nil, "--role-arn", "arn:aws:iam::111122223333:role/a b")
	serve("timeout 0", exitUsage, "--timeout", "serve --help", nil, "--timeout", "0s")
	serve("session name", exitUsage, "session name", "serve --help", nil, "--role-session-name", "a b")
	serve("config missing", exitNotFound, "roles.toml", "name", nil, "--config", "roles.toml")
	serve("config is text", exitUsage, "roles.toml", "serve --help", write("roles.toml", []byte("hello")), "--config", "roles.toml")
	serve("config has an unknown key", exitUsage, "cert", "docs/serve.md", write("roles.toml", []byte("[[role]]\nname = \"a\"\ncert = \"x\"\n")), "--config", "roles.toml")
	serve("config has a bad role", exitUsage, "role 1", "docs/serve.md", write("roles.toml", []byte("[[role]]\nname = \"a/b\"\n")), "--config", "roles.toml")
	serve("config names a missing key", exitNotFound, "none.pem", "name", write("roles.toml", []byte("[[role]]\nname = \"a\"\nprivate_key = \"none.pem\"\n")), "--config", "roles.toml")
	serve("an argument", exitUsage, "extra", "serve --help", nil, "extra")

	run := func(name string, code int, culprit, hint string, args ...string) {
		line := append(append([]string{"exec"}, goodFlags[1:]...), args...)
		all = append(all, badInput{name: "exec: " + name, args: line, code: code, culprit: culprit, hint: hint})
	}
	run("no command", exitUsage, "command", "after the flags")
	run("only --", exitUsage, "command", "after the flags", "--")
	run("no such command", exitNotFound, "no-such-command", "PATH", "--", "no-such-command")
	run("a file that is no program", exitUnavailable, "cert.pem", "PATH", "--", "./cert.pem")
	run("a folder", exitOther, "/", "PATH", "--", "/")
	run("certificate missing", exitNotFound, "none.pem", "name", "--certificate", "none.pem", "--", "true")
	run("unknown flag", exitUsage, "--no-such-flag", "exec --help", "--no-such-flag", "--", "true")
	return all
}
