//go:build linux

package badinput

import (
	"crypto/x509"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/filelock"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// otherCommandCases are those of every command but credential-process.
func otherCommandCases(p *pki) (all []badInput) {
	usage := func(line, culprit, hint string) {
		all = append(all, badInput{name: "holdfast " + line, args: strings.Fields(line), code: front.ExitUsage, culprit: culprit, hint: hint})
	}
	usage("demmo", "demmo", "demo")
	usage("serv --endpoint http://127.0.0.1:1 --profile-arn=x", "unknown command \"serv\"", "holdfast serve?")
	usage("--no-such-flag", "--no-such-flag", "help")
	usage("-5", "-5", "help")
	usage("help nosuch", "nosuch", "help")
	usage("help credential-process extra", "extra", "help")
	usage("version extra", "extra", "version --help")
	usage("version --jsn", "--jsn", "did you mean --json?")
	usage("version --json=maybe", "true or false", "JSON")
	usage("update extra", "extra", "update --profile extra")
	usage("update --once --profile app", "--certificate", "--certificate cert.pem")
	usage("update --certificate cert.pem --profile=", "trust anchor", ":trust-anchor/")
	usage("update --certificate cert.pem --profile a#b", "a#b", "--profile")
	usage("demo extra", "extra", "demo --help")
	usage("demo --listen :1", "--listen", "demo --help")
	usage("completion ksh", "ksh", "completion")
	usage("completion bash extra", "extra", "completion bash --help")
	usage("credential-process --ca-bundle=", "--ca-bundle", "leave the flag out")
	usage("doctor --trust-anchor=", "--trust-anchor", "leave the flag out")
	usage("emulator --trust-anchor=", "--trust-anchor", "leave the flag out")
	usage("emulator --crl=", "--crl", "leave the flag out")
	usage("emulator --crl ca.crl", "--crl", "--trust-anchor ca.pem")
	usage("emulator --trust-policy=", "--trust-policy", "leave the flag out")
	usage("emulator --state=", "--state", "leave the flag out")
	all = append(all, badInput{name: "demo without a temporary folder", args: []string{"demo"}, env: []string{"TMPDIR=/nowhere"}, code: front.ExitNotFound, culprit: "/nowhere", hint: "name"})

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
	emulate("trust anchor missing", front.ExitNotFound, "ca.pem", "name", nil, anchor...)
	emulate("trust anchor empty", front.ExitUsage, "ca.pem", "emulator --help", write("ca.pem"), anchor...)
	emulate("trust anchor is text", front.ExitUsage, "ca.pem", "emulator --help", write("ca.pem", []byte("none")), anchor...)
	emulate("trust anchor is a key", front.ExitUsage, "key.pem", "emulator --help", nil, "--trust-anchor", "key.pem")
	emulate("trust anchor is no CA", front.ExitUsage, "CN=client", "CA:TRUE", nil, "--trust-anchor", "cert.pem")
	emulate("trust anchor is a folder", front.ExitUsage, "ca.pem", "emulator --help", func(s *scene) { s.must(os.Mkdir(s.path("ca.pem"), 0o700)) }, anchor...)
	emulate("trust anchor is a FIFO", front.ExitUsage, "ca.pem", "emulator --help", func(s *scene) { s.must(syscall.Mkfifo(s.path("ca.pem"), 0o600)) }, anchor...)
	emulate("trust anchor is endless", front.ExitUsage, "/dev/zero", "emulator --help", nil, "--trust-anchor", "/dev/zero")
	emulate("trust anchor of 3 GiB", front.ExitUsage, "ca.pem", "emulator --help", steps(good, func(s *scene) { s.must(os.Truncate(s.path("ca.pem"), 3<<30)) }), anchor...)
	emulate("CRL missing", front.ExitNotFound, "ca.crl", "name", good, with("--crl", "ca.crl")...)
	emulate("CRL is text", front.ExitUsage, "ca.crl", "emulator --help", steps(good, write("ca.crl", []byte("none"))), with("--crl", "ca.crl")...)
	emulate("trust policy missing", front.ExitNotFound, "trust.json", "name", good, with("--trust-policy", "trust.json")...)
	emulate("trust policy empty", front.ExitUsage, "trust.json", "emulator --help", steps(good, write("trust.json")), with("--trust-policy", "trust.json")...)
	emulate("trust policy is text", front.ExitUsage, "trust.json", "emulator --help", steps(good, write("trust.json", []byte("allow all"))), with("--trust-policy", "trust.json")...)
	emulate("trust policy of another form", front.ExitUsage, "trust.json", "emulator --help", steps(good, write("trust.json", []byte(`{"Statement":7}`))), with("--trust-policy", "trust.json")...)
	emulate("error rate 2", front.ExitUsage, "error rate", "--help", good, with("--error-rate", "2")...)
	emulate("error rate NaN", front.ExitUsage, "error rate", "--help", good, with("--error-rate", "NaN")...)
	emulate("error rate is text", front.ExitUsage, "--error-rate", "0 to 1", good, with("--error-rate", "much")...)
	emulate("negative latency", front.ExitUsage, "latency", "--help", good, with("--latency", "-1s")...)
	emulate("latency is text", front.ExitUsage, "300ms", "response", good, with("--latency", "long")...)
	emulate("negative lifetime", front.ExitUsage, "lifetime", "--help", good, with("--session-lifetime", "-1s")...)
	emulate("unknown error status", front.ExitUsage, "599", "--help", good, with("--error-status", "599")...)
	emulate("bad region", front.ExitUsage, "nowhere", "--help", good, with("--region", "nowhere")...)
	emulate("bad account", front.ExitUsage, "12", "--help", good, with("--account", "12")...)
	emulate("remote address", front.ExitUsage, "0.0.0.0:0", "--allow-remote", good, with("--listen", "0.0.0.0:0")...)
	emulate("page for other machines", front.ExitUsage, "--ui", "127.0.0.1", good, with("--listen", "0.0.0.0:0", "--allow-remote", "--ui")...)
	emulate("every address", front.ExitUsage, ":0", "--allow-remote", good, with("--listen", ":0")...)
	emulate("address without a port", front.ExitUsage, "127.0.0.1", "HOST:PORT, such as 127.0.0.1:9910", good, with("--listen", "127.0.0.1")...)
	emulate("address with a bad port", front.ExitUsage, "99999", "HOST:PORT", good, with("--listen", "127.0.0.1:99999")...)
	state := func(mode fs.FileMode) func(*scene) {
		return steps(good, func(s *scene) {
			s.must(os.Mkdir(s.path("state"), 0o700))
			s.must(os.Chmod(s.path("state"), mode))
		})
	}
	keep := with("--state", "state")
	emulate("state folder for everybody", front.ExitUsage, "state: the state is accessible to other users (mode 0755)", "chmod 700 state", state(0o755), keep...)
	emulate("state folder is a link", front.ExitUsage, "state: the state folder is a symbolic link", "link", steps(state(0o700), func(s *scene) {
		s.must(os.Rename(s.path("state"), s.path("there")))
		s.must(os.Symlink("there", s.path("state")))
	}), keep...)
	emulate("state for everybody", front.ExitUsage, "state/state.jsonl: the state is accessible to other users (mode 0644)", "chmod 600 state/state.jsonl", steps(state(0o700), func(s *scene) {
		s.must(os.WriteFile(s.path("state/state.jsonl"), []byte("x"), 0o600))
		s.must(os.Chmod(s.path("state/state.jsonl"), 0o644))
	}), keep...)
	emulate("state of another emulator", front.ExitUsage, "state: another emulator uses this state folder", "end that emulator", steps(state(0o700), func(s *scene) {
		lock, err := os.OpenFile(s.path("state/state.lock"), os.O_RDWR|os.O_CREATE, 0o600)
		s.must(err)
		s.Cleanup(func() { lock.Close() })
		held, err := filelock.TryLock(lock)
		s.must(err)
		if !held {
			s.Fatal("the lock is not held")
		}
	}), keep...)
	emulate("events into a missing folder", front.ExitNotFound, "no/events", "name", good, with("--events", "no/events")...)
	emulate("events into a folder", front.ExitUsage, "events", "emulator --help", steps(good, func(s *scene) { s.must(os.Mkdir(s.path("events"), 0o700)) }), with("--events", "events")...)
	emulate("events into a FIFO without a reader", front.ExitUsage, "events", "file", steps(good, func(s *scene) { s.must(syscall.Mkfifo(s.path("events"), 0o600)) }), with("--events", "events")...)
	all = append(all, badInput{name: "emulator: busy address", args: append([]string{"emulator", "--listen", "{addr}"}, anchor...), setup: good, serve: busy,
		code: front.ExitUnavailable, culprit: "127.0.0.1:", hint: "another emulator may still be running: end it, or choose another address with --listen"})

	config := []string{"--config", "emulator.toml"}
	for _, c := range []struct{ name, text, culprit string }{
		{"is text", "no toml today", "emulator.toml"},
		{"has an unknown key", "regoin = \"us-east-1\"\n", "regoin"},
		{"has an unknown key in a table", "[[trust_anchors]]\ncertificate_file = [\"ca.pem\"]\n", "certificate_file"},
		{"has a number for a text", "region = 7\n", "emulator.toml"},
		{"has a bad duration", "[faults]\nlatency = \"long\"\n", "emulator.toml"},
		{"has a trust anchor without a file", "[[trust_anchors]]\narn = \"\"\n", "trust anchor"},
		{"has a bad ARN", "[[trust_anchors]]\narn = \"app\"\ncertificate_files = [\"ca.pem\"]\n", "app"},
		{"names an unknown role", "[[trust_anchors]]\ncertificate_files = [\"ca.pem\"]\n[[profiles]]\nrole_arns = [\"" + roleARN + "\"]\n", roleARN},
		{"is not UTF-8", "region = \"\xff\x1b[2J\"\n", "emulator.toml"},
		{"is nested deeply", "x = " + strings.Repeat("[", 60<<10), "emulator.toml"},
		{"is of 1 MiB", strings.Repeat("#", 1<<20), "emulator.toml"},
	} {
		emulate("config "+c.name, front.ExitUsage, c.culprit, "", steps(good, write("emulator.toml", []byte(c.text))), config...)
	}
	for _, c := range []struct {
		flag, text, culprit string
		code                int
	}{
		{"--region=", "region = \"nowhere\"\n[[trust_anchors]]\ncertificate_files = [\"ca.pem\"]\n", "nowhere", front.ExitUsage},
		{"--account=", "account = \"12\"\n[[trust_anchors]]\ncertificate_files = [\"ca.pem\"]\n", "12", front.ExitUsage},
	} { // an empty flag does not replace the value of the file
		emulate("config and "+c.flag, c.code, c.culprit, "", steps(good, write("emulator.toml", []byte(c.text))), append(config, c.flag)...)
	}
	emulate("config missing", front.ExitNotFound, "emulator.toml", "name", nil, config...)
	emulate("config names a missing file", front.ExitNotFound, "no.pem", "name", write("emulator.toml", []byte("[[trust_anchors]]\ncertificate_files = [\"no.pem\"]\n")), config...)
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
	serve("no flags at all", front.ExitUsage, "--certificate", "--private-key", nil, "--certificate=", "--private-key=")
	serve("port too high", front.ExitUsage, "65536", "serve --help", nil, "--port", "65536")
	serve("port negative", front.ExitUsage, "-1", "serve --help", nil, "--port", "-1")
	serve("port is text", front.ExitUsage, "whole number", "port", nil, "--port", "x")
	serve("hop limit 0", front.ExitUsage, "--hop-limit", "serve --help", nil, "--hop-limit", "0")
	serve("hop limit 256", front.ExitUsage, "--hop-limit", "serve --help", nil, "--hop-limit", "256")
	serve("log format", front.ExitUsage, "xml", "serve --help", nil, "--log-format", "xml")
	serve("every address", front.ExitUsage, "0.0.0.0", "--allow-remote", nil, "--listen", "0.0.0.0")
	serve("every IPv6 address", front.ExitUsage, "--listen", "--allow-remote", nil, "--listen", "[::]")
	serve("a port twice", front.ExitUsage, "127.0.0.1:1", "once", nil, "--listen", "127.0.0.1:1")
	serve("an address with a bad port", front.ExitUsage, "127.0.0.1:x", "once", nil, "--listen", "127.0.0.1:x")
	serve("a Unix socket", front.ExitUsage, "/run/holdfast.sock", "TCP", nil, "--listen", "/run/holdfast.sock")
	serve("--role without a file", front.ExitUsage, "--role", "--config", nil, "--role", "app")
	several := write("roles.toml", []byte("[[role]]\nname = \"a\"\n[[role]]\nname = \"b\"\n"))
	serve("one ARN for several roles", front.ExitUsage, "--role-arn", "leave it out", several, "--config", "roles.toml")
	serve("a role that is not in the file", front.ExitUsage, "nosuch", "a, b", several, "--config", "roles.toml", "--role", "nosuch")
	serve("a name that is not this machine", front.ExitUsage, "example.com", "--allow-remote", nil, "--listen", "example.com")
	serve("status for everybody", front.ExitUsage, "--status-listen", "--allow-remote", nil, "--status-listen", ":0")
	serve("status without a port", front.ExitUsage, "127.0.0.1", "port", nil, "--status-listen", "127.0.0.1")
	serve("token file in a missing folder", front.ExitNotFound, "no/", "name", nil, "--token-file", "no/token")
	serve("token file is a folder", front.ExitOther, "token", "file", func(s *scene) { s.must(os.Mkdir(s.path("token"), 0o700)) }, "--token-file", "token")
	serve("token file is a FIFO", front.ExitOther, "token", "file", func(s *scene) { s.must(syscall.Mkfifo(s.path("token"), 0o600)) }, "--token-file", "token")
	serve("token file is empty", front.ExitOther, "token", "one line", write("token"), "--token-file", "token")
	serve("token file has two lines", front.ExitOther, "token", "one line", write("token", []byte("a\nb")), "--token-file", "token")
	serve("token file is endless", front.ExitOther, "/dev/zero", "file", nil, "--token-file", "/dev/zero")
	serve("certificate missing", front.ExitNotFound, "none.pem", "name", nil, "--certificate", "none.pem")
	serve("certificate expired", front.ExitOther, "expired", "renew", func(s *scene) {
		expired := s.ca.Issue(s, s.key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
		s.write("cert.pem", signertest.CertPEM(expired))
	})
	serve("bad role ARN", front.ExitUsage, "role", "arn:aws:iam", nil, "--role-arn", "arn:aws:iam::111122223333:role/a b")
	serve("timeout 0", front.ExitUsage, "--timeout", "serve --help", nil, "--timeout", "0s")
	serve("session name", front.ExitUsage, "session name", "serve --help", nil, "--role-session-name", "a b")
	serve("config missing", front.ExitNotFound, "roles.toml", "name", nil, "--config", "roles.toml")
	serve("config is text", front.ExitUsage, "roles.toml", "serve --help", write("roles.toml", []byte("hello")), "--config", "roles.toml")
	serve("config has an unknown key", front.ExitUsage, "cert", "docs/configuration.md", write("roles.toml", []byte("[[role]]\nname = \"a\"\ncert = \"x\"\n")), "--config", "roles.toml")
	serve("config has a bad role", front.ExitUsage, "role 1", "docs/configuration.md", write("roles.toml", []byte("[[role]]\nname = \"a/b\"\n")), "--config", "roles.toml")
	serve("config names a missing key", front.ExitNotFound, "none.pem", "name", write("roles.toml", []byte("[[role]]\nname = \"a\"\nprivate_key = \"none.pem\"\n")), "--certificate=", "--private-key=", "--config", "roles.toml")
	serve("an argument", front.ExitUsage, "extra", "serve --help", nil, "extra")

	run := func(name string, code int, culprit, hint string, args ...string) {
		line := append(append([]string{"exec"}, goodFlags[1:]...), args...)
		all = append(all, badInput{name: "exec: " + name, args: line, code: code, culprit: culprit, hint: hint})
	}
	run("no command", front.ExitUsage, "command", "after the flags")
	run("only --", front.ExitUsage, "command", "after the flags", "--")
	run("no such command", 127, "no-such-command", "PATH", "--", "no-such-command")
	run("a file that is no program", 126, "cert.pem", "chmod +x", "--", "./cert.pem")
	run("a folder", 126, "/", "is a program", "--", "/")
	run("certificate missing", front.ExitNotFound, "none.pem", "name", "--certificate", "none.pem", "--", "true")
	run("several roles", front.ExitUsage, "2 roles", "--role: a, b", "--config", "roles.toml", "--role-arn=", "--", "true")
	all[len(all)-1].setup = write("roles.toml", []byte("[[role]]\nname = \"a\"\nrole_arn = \""+roleARN+"\"\n[[role]]\nname = \"b\"\nrole_arn = \""+roleARN+"\"\n"))
	run("unknown flag", front.ExitUsage, "--no-such-flag", "exec --help", "--no-such-flag", "--", "true")
	return all
}
