package main

import (
	"bytes"
	"testing"

	"github.com/holdfast-dev/holdfast/examples/internal/guesttest"
)

// OpenSSL verifies the request, the certificate and the revocation list.
func TestX509(t *testing.T) {
	guesttest.Each(t, func(t *testing.T, key guesttest.Key) {
		write := func(command string, args ...string) string {
			t.Helper()
			var out bytes.Buffer
			if err := run(t.Context(), command, key.Ref, args, &out); err != nil {
				t.Fatalf("%s: %v", command, err)
			}
			return guesttest.File(t, command+".pem", out.Bytes())
		}
		ca := write("root", "an example")
		csr := write("request", "a device")
		cert := write("issue", ca, csr)
		list := write("crl", ca)
		guesttest.OpenSSL(t, "req", "-verify", "-noout", "-in", csr)
		guesttest.OpenSSL(t, "verify", "-CAfile", ca, "-CRLfile", list, "-crl_check", cert)
	})
}
