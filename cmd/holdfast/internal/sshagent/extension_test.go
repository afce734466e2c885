//go:build unix

package sshagent

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// bindRequest returns a session-bind for a session in which the host has signed another
// one, or the same.
func bindRequest(t testing.TB, host *signertest.Fake, id, signed string, forwarded bool) []byte {
	t.Helper()
	blob, err := sshwire.MarshalPublicKey(host.Public())
	if err != nil {
		t.Fatal(err)
	}
	a := sshwire.Algorithms(host.Public())[0]
	sig, err := signer.SignMessage(t.Context(), host, rand.Reader, []byte(signed), a.Hash)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := sshwire.MarshalSignature(host.Public(), a.Name, sig)
	if err != nil {
		t.Fatal(err)
	}
	var b sshwire.Builder
	b.Text(bindExtension)
	b.Bytes(blob)
	b.Text(id)
	b.Bytes(signature)
	b.Bool(forwarded)
	return b.Data()
}

func TestBind(t *testing.T) {
	first, second, rsa := fake(t, "ed25519"), fake(t, "p256"), fake(t, "rsa2048")
	s := &session{agent: newAgent(t, fake(t, "p384"))}
	good := bindRequest(t, first, "one", "one", true)
	for _, c := range []struct {
		name string
		in   []byte
		want sshwire.Message
	}{
		{"signature of another session", bindRequest(t, first, "one", "two", true), sshwire.ExtensionFailure},
		{"cut off", good[:len(good)-1], sshwire.ExtensionFailure},
		{"byte too many", append(good[:len(good):len(good)], 0), sshwire.ExtensionFailure},
		{"first", good, sshwire.Success},
		{"again", good, sshwire.Success},
		{"same session, another host", bindRequest(t, second, "one", "one", true), sshwire.ExtensionFailure},
		{"RSA", bindRequest(t, rsa, "two", "two", true), sshwire.Success},
		{"last", bindRequest(t, second, "three", "three", false), sshwire.Success},
		{"after the last", bindRequest(t, second, "four", "four", false), sshwire.ExtensionFailure},
	} {
		if kind, _ := s.answer(t.Context(), sshwire.Extension, c.in); kind != c.want {
			t.Errorf("%s: type %d, want %d", c.name, kind, c.want)
		}
	}
	if len(s.bound) != 3 {
		t.Errorf("%d connections", len(s.bound))
	}
}

func TestBindLimit(t *testing.T) {
	host := fake(t, "ed25519")
	s := &session{agent: newAgent(t)}
	for i := range maxBound + 1 {
		id := strings.Repeat("x", i+1)
		kind, _ := s.answer(t.Context(), sshwire.Extension, bindRequest(t, host, id, id, true))
		if (kind == sshwire.Success) != (i < maxBound) {
			t.Errorf("binding %d: type %d", i, kind)
		}
	}
}
