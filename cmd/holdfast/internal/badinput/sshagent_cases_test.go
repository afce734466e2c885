//go:build linux

package badinput

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// agentCommandCases are those of the command ssh-agent, with the good key and a socket in
// the folder unless setup or later flags change them.
func agentCommandCases(*pki) (all []badInput) {
	agent := func(name string, code int, culprit, hint string, setup func(*scene), args ...string) {
		all = append(all, badInput{name: "ssh-agent: " + name, bare: true, setup: setup, code: code, culprit: culprit, hint: hint,
			args: append([]string{"ssh-agent", "--private-key", "key.pem", "--socket", "s"}, args...)})
	}
	add := func(c badInput) { all = append(all, c) }
	add(badInput{name: "ssh-agent: no key", bare: true, args: []string{"ssh-agent"}, code: front.ExitUsage, culprit: "--private-key", hint: "ssh-agent --private-key"})
	agent("an empty key", front.ExitUsage, "--private-key", "leave the flag out", nil, "--private-key=")
	agent("key missing", front.ExitNotFound, "no.pem", "name", nil, "--private-key", "no.pem")
	agent("key twice", front.ExitUsage, "the same key", "once", nil, "--private-key", "./key.pem")
	agent("key is a certificate", front.ExitNotFound, "cert.pem", "--private-key", nil, "--private-key", "cert.pem")
	agent("encrypted key", front.ExitPIN, "key.pem", "--pin-source", openssl("pkcs8", "-topk8", "-in", "plain.pem", "-passout", "env:PW", "-out", "key.pem"))
	agent("certificate with two keys", front.ExitUsage, "--certificate", "leave it out", nil, "--private-key", "other.pem", "--certificate", "cert.pem")
	agent("certificate missing", front.ExitNotFound, "no.pem", "name", nil, "--certificate", "no.pem")
	agent("lifetime 0", front.ExitUsage, "--lifetime", "--help", nil, "--lifetime", "0")
	agent("lifetime in the past", front.ExitUsage, "--lifetime", "--help", nil, "--lifetime=-1s")
	agent("lifetime is a word", front.ExitUsage, "--lifetime", "8h", nil, "--lifetime", "long")
	agent("unknown flag", front.ExitUsage, "--pkcs11", "--pkcs11-lib", nil, "--pkcs11=x")
	agent("no such command", 127, "no-such-command", "PATH", nil, "--", "no-such-command")

	agent("socket is empty", front.ExitUsage, "--socket", "leave the flag out", nil, "--socket=")
	agent("socket is a file", front.ExitOther, "key.pem", "--socket FILE", nil, "--socket", "key.pem")
	agent("socket is a folder", front.ExitOther, "d", "--socket FILE", func(s *scene) { s.must(os.Mkdir(s.path("d"), 0o700)) }, "--socket", "d")
	agent("socket is a FIFO", front.ExitOther, "fifo", "--socket FILE", func(s *scene) { s.must(syscall.Mkfifo(s.path("fifo"), 0o600)) }, "--socket", "fifo")
	agent("socket in no folder", front.ExitNotFound, "none", "name", nil, "--socket", "none/s")
	agent("socket in an open folder", front.ExitUnavailable, "other users", "--socket FILE", func(s *scene) {
		s.must(os.Mkdir(s.path("d"), 0o700))
		s.must(os.Chmod(s.path("d"), 0o777))
	}, "--socket", "d/s")
	agent("socket with a long name", front.ExitUsage, "at most 103", "--socket FILE", nil, "--socket", strings.Repeat("x", 120))
	agent("socket of another agent", front.ExitOther, "another agent", "--socket FILE", func(s *scene) {
		l, err := net.Listen("unix", s.path("s"))
		s.must(err)
		s.Cleanup(func() { l.Close() })
	})

	confirm := func(name string, env []string, code int, culprit, hint string) {
		add(badInput{name: "ssh-agent: " + name, bare: true, args: []string{"ssh-agent", "--confirm", "--private-key", "key.pem", "--socket", "s"}, env: env, code: code, culprit: culprit, hint: hint})
	}
	confirm("question without a display", nil, front.ExitUsage, "display", "SSH_ASKPASS_REQUIRE")
	confirm("question that is forbidden", []string{"DISPLAY=:0", "SSH_ASKPASS_REQUIRE=never"}, front.ExitUsage, "SSH_ASKPASS_REQUIRE", "--confirm")
	confirm("question without a program", []string{"DISPLAY=:0", "SSH_ASKPASS=/none"}, front.ExitNotFound, "/none", "SSH_ASKPASS=PATH")

	certificate := func(name string, code int, culprit, hint string, setup func(*scene)) {
		agent("OpenSSH certificate "+name, code, culprit, hint, setup, "--ssh-certificate", "id-cert.pub")
	}
	certificate("missing", front.ExitNotFound, "id-cert.pub", "name", nil)
	certificate("empty", front.ExitUsage, "id-cert.pub", "id-cert.pub", write("id-cert.pub"))
	certificate("is X.509", front.ExitUsage, "id-cert.pub", "certificate of a user", func(s *scene) { s.write("id-cert.pub", s.certPEM) })
	certificate("cut", front.ExitUsage, "id-cert.pub", "certificate of a user", func(s *scene) { s.write("id-cert.pub", sshCertificate(s, s.key, ssh.UserCert)[:500]) })
	certificate("of a host", front.ExitUsage, "host", "certificate of a user", func(s *scene) { s.write("id-cert.pub", sshCertificate(s, s.key, ssh.HostCert)) })
	certificate("of another key", front.ExitOther, "--private-key", "ssh-keygen -L", func(s *scene) {
		s.write("id-cert.pub", sshCertificate(s, signertest.NewKey(s, "p256"), ssh.UserCert))
	})
	certificate("of 1 MiB", front.ExitUsage, "id-cert.pub", "certificate of a user", write("id-cert.pub", bytes.Repeat([]byte("x"), 1<<20)))
	certificate("is a FIFO", front.ExitUsage, "id-cert.pub", "certificate of a user", func(s *scene) { s.must(syscall.Mkfifo(s.path("id-cert.pub"), 0o600)) })
	return all
}

// sshCertificate returns an OpenSSH certificate for a key.
func sshCertificate(s *scene, key crypto.Signer, kind uint32) []byte {
	s.Helper()
	pub, err := ssh.NewPublicKey(key.Public())
	s.must(err)
	ca, err := ssh.NewSignerFromSigner(signertest.Key(s, "ed25519"))
	s.must(err)
	c := &ssh.Certificate{Key: pub, CertType: kind, KeyId: "app", ValidBefore: ssh.CertTimeInfinity}
	s.must(c.SignCert(rand.Reader, ca))
	return ssh.MarshalAuthorizedKey(c)
}
