package main

import (
	"bytes"
	"crypto"
	"errors"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"

	"github.com/holdfast-dev/holdfast/examples/internal/guesttest"
	"github.com/holdfast-dev/holdfast/signer"
)

func TestJWS(t *testing.T) {
	guesttest.Each(t, func(t *testing.T, key guesttest.Key) {
		var out bytes.Buffer
		if err := run(t.Context(), key.Ref, strings.NewReader("text"), &out); err != nil {
			t.Fatal(err)
		}
		verify(t, key, strings.TrimSpace(out.String()))
		if !key.RSA() {
			return
		}
		opened := key.Open(t, "")
		text, err := sign(opened, jose.RS256, []byte("text"))
		if err != nil {
			t.Fatal(err)
		}
		verify(t, key, text)

		// Without the adapter, a key that knows its salts refuses the one of cryptosigner.
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.PS256, Key: cryptosigner.Opaque(opened)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Sign([]byte("text"))
		isTPM, limited := strings.HasPrefix(key.Ref, "tpm:"), signer.PSSSaltLengths(opened, crypto.SHA256) != nil
		if limited != isTPM || errors.Is(err, errors.ErrUnsupported) != isTPM {
			t.Errorf("limited: %t, error %v", limited, err)
		}
	})
}

func verify(t *testing.T, key guesttest.Key, text string) {
	t.Helper()
	object, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.PS256})
	if err != nil {
		t.Fatal(err)
	}
	if payload, err := object.Verify(key.Public); err != nil || string(payload) != "text" {
		t.Errorf("error %v, %q", err, payload)
	}
}
