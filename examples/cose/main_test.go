package main

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/veraison/go-cose"

	"github.com/holdfast-dev/holdfast/examples/internal/guesttest"
)

func TestCOSE(t *testing.T) {
	guesttest.Each(t, func(t *testing.T, key guesttest.Key) {
		var out bytes.Buffer
		if err := run(t.Context(), key.Ref, strings.NewReader("text"), &out); err != nil {
			t.Fatal(err)
		}
		algorithm := cose.AlgorithmES256
		if key.RSA() {
			algorithm = cose.AlgorithmPS256
		}
		v, err := cose.NewVerifier(algorithm, key.Public)
		if err != nil {
			t.Fatal(err)
		}
		var message cose.Sign1Message
		if err := message.UnmarshalCBOR(out.Bytes()); err != nil {
			t.Fatal(err)
		}
		if err := message.Verify(nil, v); err != nil || string(message.Payload) != "text" {
			t.Errorf("error %v, %q", err, message.Payload)
		}

		// Without the adapter, an ECDSA key refuses the options of go-cose.
		s, err := cose.NewSigner(algorithm, key.Open(t, ""))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Sign(rand.Reader, []byte("text")); (err == nil) != key.RSA() {
			t.Errorf("without the adapter: %v", err)
		}
	})
}
