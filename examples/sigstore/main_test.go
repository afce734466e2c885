package main

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"

	"github.com/holdfast-dev/holdfast/examples/internal/guesttest"
)

// The verifiers of sigstore accept the signatures.
func TestSigstore(t *testing.T) {
	guesttest.Each(t, func(t *testing.T, key guesttest.Key) {
		file := guesttest.File(t, "file", []byte("text"))
		var out bytes.Buffer
		if err := run(t.Context(), key.Ref, file, &out); err != nil {
			t.Fatal(err)
		}
		sig, err := base64.StdEncoding.DecodeString(strings.TrimSpace(out.String()))
		if err != nil {
			t.Fatal(err)
		}
		v, err := signature.LoadVerifier(key.Public, crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		verify(t, v, sig)
		s := deviceSigner{key.Open(t, ""), crypto.SHA256}
		if pub, err := s.PublicKey(); err != nil || pub != s.key.Public() {
			t.Errorf("public key %v, error %v", pub, err)
		}
		if _, err := s.SignMessage(nil, options.WithDigest(make([]byte, 48)), options.WithCryptoSignerOpts(crypto.SHA384)); err == nil {
			t.Error("a digest of another hash was signed")
		}
		if !key.RSA() {
			return
		}
		pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
		if sig, err = (deviceSigner{s.key, pss}).SignMessage(strings.NewReader("text")); err != nil {
			t.Fatal(err)
		}
		if v, err = signature.LoadRSAPSSVerifier(key.Public.(*rsa.PublicKey), crypto.SHA256, nil); err != nil {
			t.Fatal(err)
		}
		verify(t, v, sig)
	})
}

func verify(t *testing.T, v signature.Verifier, sig []byte) {
	t.Helper()
	if err := v.VerifySignature(bytes.NewReader(sig), strings.NewReader("text")); err != nil {
		t.Error(err)
	}
}
