package sshagent

import (
	"crypto"
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/sshagenttest"
	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// fingerprintOf returns the fingerprint of a key.
func fingerprintOf(tb testing.TB, pub crypto.PublicKey) sshwire.Fingerprint {
	tb.Helper()
	blob, err := sshwire.MarshalPublicKey(pub)
	if err != nil {
		tb.Fatal(err)
	}
	return sshwire.FingerprintOf(blob)
}

// refTo returns a reference to the key of pub.
func refTo(tb testing.TB, socket string, pub crypto.PublicKey) keystore.Ref {
	return reference(fingerprintOf(tb, pub), socket)
}

// open opens a key, and closes it when the test ends.
func open(tb testing.TB, ref keystore.Ref, call keystore.Call) *key {
	tb.Helper()
	s, err := Backend{}.Open(tb.Context(), ref, call)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s.(*key)
}

func TestContract(t *testing.T) {
	agent := sshagenttest.Start(t, "")
	kinds := []string{"rsa2048", "p256", "p384", "p521", "ed25519"}
	for _, kind := range kinds {
		agent.Add(signertest.Key(t, kind), kind)
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			ref := refTo(t, agent.Socket, signertest.Key(t, kind).Public())
			signertest.RunMessages(t, func(t *testing.T) signer.Signer {
				s, err := Backend{}.Open(t.Context(), ref, keystore.Call{})
				if err != nil {
					t.Fatal(err)
				}
				return s
			})
		})
	}
}

// TestRefusedRequests: an agent signs only with the hash of the curve, and RSA only with
// PKCS #1 v1.5 and two hashes.
func TestRefusedRequests(t *testing.T) {
	agent := sshagenttest.Start(t, "")
	for _, c := range []struct {
		kind string
		opts crypto.SignerOpts
		text string // "": signs
	}{
		{"rsa2048", crypto.SHA256, ""},
		{"rsa2048", crypto.SHA384, "not with PKCS #1 v1.5 and SHA-384"},
		{"rsa2048", crypto.SHA512, ""},
		{"rsa2048", crypto.SHA1, "unsupported"},
		{"p256", crypto.SHA256, ""},
		{"p256", crypto.SHA384, "SHA-256 for ECDSA P-256, not with SHA-384"},
		{"p384", crypto.SHA256, "SHA-384 for ECDSA P-384, not with SHA-256"},
		{"p384", crypto.SHA384, ""},
		{"p521", crypto.SHA256, "SHA-512 for ECDSA P-521, not with SHA-256"},
		{"p521", crypto.SHA512, ""},
		{"ed25519", crypto.Hash(0), ""},
		{"ed25519", crypto.SHA512, "Ed25519"},
	} {
		key := signertest.Key(t, c.kind)
		agent.Run("-qD")
		agent.Add(key, c.kind)
		k := open(t, refTo(t, agent.Socket, key.Public()), keystore.Call{})
		_, err := k.SignMessage(nil, []byte("message"), c.opts)
		switch {
		case c.text == "" && err == nil:
		case c.text != "" && errors.Is(err, errors.ErrUnsupported) && strings.Contains(err.Error(), c.text):
			if hint := signer.Hint(err); strings.HasPrefix(c.kind, "p") && !strings.Contains(hint, "use an RSA key or an ECDSA key on P-256") {
				t.Errorf("%s, %v: hint %q", c.kind, c.opts, hint)
			}
		default:
			t.Errorf("%s, %v: %v", c.kind, c.opts, err)
		}
	}
}
