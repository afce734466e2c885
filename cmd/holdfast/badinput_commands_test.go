//go:build linux

package main

import (
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
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
	for i := range all {
		all[i].bare = true
	}
	return all
}
