package main

import (
	"bytes"
	"testing"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/holdfast-dev/holdfast/examples/internal/guesttest"
)

func TestJWX(t *testing.T) {
	guesttest.Each(t, func(t *testing.T, key guesttest.Key) {
		var out bytes.Buffer
		if err := run(t.Context(), key.Ref, "alice", &out); err != nil {
			t.Fatal(err)
		}
		if !key.RSA() {
			verify(t, key, jwa.ES256(), bytes.TrimSpace(out.Bytes()))
			return
		}
		verify(t, key, jwa.PS256(), bytes.TrimSpace(out.Bytes()))
		text, err := sign(key.Open(t, ""), jwa.RS256(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		verify(t, key, jwa.RS256(), text)
	})
}

func verify(t *testing.T, key guesttest.Key, algorithm jwa.SignatureAlgorithm, text []byte) {
	t.Helper()
	token, err := jwt.Parse(text, jwt.WithKey(algorithm, key.Public))
	if err != nil {
		t.Fatal(err)
	}
	if subject, ok := token.Subject(); !ok || subject != "alice" {
		t.Errorf("subject %q", subject)
	}
}
