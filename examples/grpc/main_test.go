package main

import (
	"bytes"
	"testing"

	"github.com/holdfast-dev/holdfast/examples/internal/guesttest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestGRPC(t *testing.T) {
	guesttest.Each(t, func(t *testing.T, key guesttest.Key) {
		ca := signertest.NewCA(t, "root")
		cert, roots := key.Certify(t, ca, guesttest.ForLocalhost), guesttest.File(t, "roots.pem", signertest.CertPEM(ca.Root()))
		var out bytes.Buffer
		if err := run(t.Context(), key.Ref, cert, roots, &out); err != nil || out.String() != "SERVING\n" {
			t.Errorf("error %v, %q", err, &out)
		}
	})
}
