//go:build linux

package badinput

import (
	"crypto"
	"io"
	"net"
	"os"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/sshagenttest"
	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// sshAgentCases have a key in an ssh-agent, or something else in its place.
func sshAgentCases(p *pki) (cases []badInput) {
	agent := func(s *scene, key crypto.Signer, flags ...string) *sshagenttest.Agent {
		a := sshagenttest.Start(s, "/bin/false")
		if key != nil {
			a.Add(key, "app", flags...)
		}
		s.must(os.Symlink(a.Socket, s.path("agent")))
		return a
	}
	lists := func(answer string) func(*scene) {
		return listening("agent", func(c net.Conn) {
			if _, _, err := sshwire.ReadMessage(c); err == nil {
				_, _ = io.WriteString(c, answer)
			}
		})
	}
	for _, c := range []badInput{
		{name: "no socket", code: front.ExitUnavailable, culprit: "agent", hint: "socket= in the reference"},
		{name: "variable not set", args: []string{"--private-key", "sshagent:"}, code: front.ExitUnavailable, culprit: "SSH_AUTH_SOCK", hint: `eval "$(ssh-agent)"`},
		{name: "a file", setup: write("agent", []byte("agent")), code: front.ExitUnavailable, culprit: "is not a socket", hint: "ssh-add -l"},
		{name: "no keys", setup: func(s *scene) { agent(s, nil) }, code: front.ExitNotFound, culprit: "lists no keys", hint: "ssh-add"},
		{name: "another key", setup: func(s *scene) { agent(s, signertest.NewKey(s, "p256")) }, code: front.ExitNotFound, culprit: "none is the key of the certificate", hint: "ssh-add -l"},
		{name: "locked", setup: func(s *scene) { agent(s, p.key).Run("-x") }, code: front.ExitNotFound, culprit: "lists no keys", hint: "ssh-add -X"},
		{name: "confirmation refused", setup: func(s *scene) { agent(s, p.key, "-c") }, code: front.ExitOther, culprit: "refused to sign", hint: "confirm"},
		{name: "P-384", setup: func(s *scene) {
			key := signertest.Key(s, "p384")
			agent(s, key)
			s.write("cert.pem", signertest.CertPEM(s.ca.Issue(s, key, nil)))
		}, code: front.ExitUnavailable, culprit: "SHA-384 for ECDSA P-384, not with SHA-256", hint: "ECDSA key on P-256"},
		{name: "key of another certificate", setup: func(s *scene) { agent(s, signertest.NewKey(s, "p256")) },
			args: []string{"--private-key", "sshagent:comment=app;socket=agent"}, code: front.ExitOther, culprit: "another key", hint: "certificate"},
		{name: "fingerprint of no key", setup: func(s *scene) { agent(s, p.key) },
			args: []string{"--private-key", "sshagent:sha256=" + strings.Repeat("A", 43) + ";socket=agent"}, code: front.ExitNotFound, culprit: "fingerprint", hint: "ssh-add -l"},
		{name: "mistyped fingerprint", args: []string{"--private-key", "sshagent:sha256=" + strings.Repeat("A", 42) + "B"}, code: front.ExitUsage, culprit: "one of them is wrong", hint: "ssh-add -l"},
		{name: "a comment as reference", args: []string{"--private-key", "sshagent:app"}, code: front.ExitUsage, culprit: "not NAME=VALUE", hint: "write sshagent:comment=app"},
		{name: "private key as public key", args: []string{"--private-key", "sshagent:public=key.pem;socket=agent"}, code: front.ExitOther, culprit: "key.pem", hint: "key.pem.pub"},
		{name: "scheme with a dash", args: []string{"--private-key", "ssh-agent:"}, code: front.ExitUsage, culprit: `scheme "ssh-agent"`, hint: "did you mean sshagent:?"},
		{name: "scheme without a colon", args: []string{"--private-key", "sshagent"}, code: front.ExitNotFound, culprit: "no such file", hint: "did you mean sshagent:?"},
		{name: "no fingerprint", args: []string{"--private-key", "sshagent:sha256=00:11:22"}, code: front.ExitUsage, culprit: "sha256", hint: "ssh-add -l"},
		{name: "unknown attribute", args: []string{"--private-key", "sshagent:passphrase=topsecret"}, code: front.ExitUsage, culprit: "passphrase", hint: "reference", secret: "topsecret"},
		{name: "certificate from the agent", args: []string{"--certificate", "sshagent:socket=agent"}, setup: func(s *scene) { agent(s, p.key) },
			code: front.ExitNotFound, culprit: "no certificate", hint: "file of the certificate"},
		{name: "1 GB", setup: lists("\x40\x00\x00\x00\x0c"), code: front.ExitOther, culprit: "at most 262144", hint: "ssh-agent"},
		{name: "garbage", setup: lists("HTTP/1.1 400 Bad Request\r\n\x1b[2J"), code: front.ExitOther, culprit: "not one of an ssh-agent", hint: "ssh-agent"},
		{name: "closes", setup: lists(""), code: front.ExitUnavailable, culprit: "closed the connection", hint: "ssh-add -l"},
		{name: "hangs", setup: listening("agent", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), code: front.ExitUnavailable, culprit: "hangs", hint: "ssh-add -l"},
	} {
		c.name = "ssh-agent: " + c.name
		if c.args == nil {
			c.args = []string{"--private-key", "sshagent:socket=agent"}
		}
		cases = append(cases, c)
	}
	return cases
}
