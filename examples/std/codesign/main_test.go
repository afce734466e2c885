package main

import (
	"bytes"
	"testing"

	"github.com/holdfast-dev/holdfast/examples/internal/guesttest"
)

// OpenSSL verifies the signature.
func TestCodeSign(t *testing.T) {
	guesttest.Each(t, func(t *testing.T, key guesttest.Key) {
		file := guesttest.File(t, "program", bytes.Repeat([]byte("code"), 1<<20))
		if err := run(t.Context(), key.Ref, file); err != nil {
			t.Fatal(err)
		}
		args := []string{"dgst", "-sha256", "-verify", key.PublicFile(t), "-signature", file + ".sig"}
		if key.RSA() {
			args = append(args, "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest")
		}
		guesttest.OpenSSL(t, append(args, file)...)
	})
}
