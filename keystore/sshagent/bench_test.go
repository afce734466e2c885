package sshagent

import (
	"crypto"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/sshagenttest"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// BenchmarkSign makes signatures with OpenSSH's agent; BenchmarkList is the part of it
// that is not a signature.
func BenchmarkSign(b *testing.B) {
	agent := sshagenttest.Start(b, "")
	p256 := signertest.Key(b, "p256")
	agent.Add(p256, "app")
	k := open(b, refTo(b, agent.Socket, p256.Public()), keystore.Call{})
	for b.Loop() {
		if _, err := k.SignMessage(nil, []byte("message"), crypto.SHA256); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkList(b *testing.B) {
	a := agent{sshagenttest.Start(b, "").Socket}
	for b.Loop() {
		if _, err := a.keys(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
