//go:build unix

package sshagent

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// FuzzAnswers: whatever an agent answers, a key that is chosen can serve, and a signature
// that is accepted verifies.
func FuzzAnswers(f *testing.F) {
	message := []byte("message")
	var keys []*key
	for _, kind := range []string{"p256", "rsa2048", "ed25519"} {
		private := signertest.Key(f, kind)
		k := newKey(agent{"socket"}, listOf(f, private.Public(), kind))
		keys = append(keys, k)
		a := sshwire.Algorithms(private.Public())[0]
		signature, err := crypto.SignMessage(private, rand.Reader, message, a.Hash)
		if err != nil {
			f.Fatal(err)
		}
		blob, err := sshwire.MarshalSignature(private.Public(), a.Name, signature)
		if err != nil {
			f.Fatal(err)
		}
		var response, list bytes.Buffer
		var b sshwire.Builder
		b.Bytes(blob)
		ids := []sshwire.Identity{{Blob: k.blob, Comment: kind}, {Blob: certified(f, private.Public()), Comment: kind}, {Blob: skBlob()}}
		_ = sshwire.WriteMessage(&response, sshwire.SignResponse, b.Data())
		_ = sshwire.WriteMessage(&list, sshwire.IdentitiesAnswer, sshwire.MarshalIdentities(ids))
		f.Add(response.Bytes())
		f.Add(list.Bytes())
	}
	f.Add([]byte{0, 0, 0, 1, 5})
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, contents, err := sshwire.ReadMessage(bytes.NewReader(data))
		if err != nil {
			return
		}
		if list, err := check(kind, contents, sshwire.IdentitiesAnswer); err == nil {
			all, err := decodeList(list)
			if err != nil {
				return
			}
			if chosen, err := (query{}).choose(all, nil); err == nil && len(newKey(agent{}, chosen).SignatureSchemes()) == 0 {
				t.Errorf("%x: chose a key that cannot sign", data)
			}
		}
		if response, err := check(kind, contents, sshwire.SignResponse); err == nil {
			for _, k := range keys {
				algorithm := sshwire.Algorithms(k.pub)[0]
				digest, m, err := digestFor(k.pub, message, algorithm.Hash)
				if err != nil {
					t.Fatal(err)
				}
				if signature, err := k.signature(algorithm, m, digest, response); err == nil && !signer.Verifies(k.pub, m, digest, signature) {
					t.Errorf("%x: a wrong signature", data)
				}
			}
		}
	})
}
