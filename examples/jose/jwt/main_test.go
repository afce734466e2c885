package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-dev/holdfast/examples/internal/guesttest"
)

// The methods of golang-jwt itself verify the tokens.
func TestJWT(t *testing.T) {
	guesttest.Each(t, func(t *testing.T, key guesttest.Key) {
		var out bytes.Buffer
		if err := run(t.Context(), key.Ref, "alice", &out); err != nil {
			t.Fatal(err)
		}
		tokens := []string{strings.TrimSpace(out.String())}
		if key.RSA() {
			text, err := jwt.NewWithClaims(methods["RS256"], jwt.RegisteredClaims{Subject: "alice"}).SignedString(key.Open(t, ""))
			if err != nil {
				t.Fatal(err)
			}
			tokens = append(tokens, text)
		}
		for _, text := range tokens {
			token, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return key.Public, nil })
			if err != nil {
				t.Fatal(err)
			}
			if subject, err := token.Claims.GetSubject(); err != nil || subject != "alice" {
				t.Errorf("subject %q, error %v", subject, err)
			}
		}
		if _, err := jwt.New(methods["ES256"]).SignedString("no key"); err == nil {
			t.Error("a string was accepted as a key")
		}
	})
}

// A method refuses a key that it has no tokens for.
func TestOtherKeys(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ES256", "RS256", "PS256"} {
		if text, err := jwt.New(methods[name]).SignedString(p384); !errors.Is(err, jwt.ErrInvalidKey) {
			t.Errorf("%s with a P-384 key: %q, error %v", name, text, err)
		}
	}
}
