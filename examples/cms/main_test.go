package main

import (
	"crypto/x509"
	"errors"
	"os"
	"testing"

	"github.com/smallstep/pkcs7"

	"github.com/holdfast-dev/holdfast/examples/internal/guesttest"
	"github.com/holdfast-dev/holdfast/pki/cms"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The library and OpenSSL verify the message, and OpenSSL that of pki/cms.
func TestCMS(t *testing.T) {
	guesttest.Each(t, func(t *testing.T, key guesttest.Key) {
		ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
		root := guesttest.File(t, "root.pem", signertest.CertPEM(ca.Root()))
		cert, file := key.Certify(t, ca, nil), guesttest.File(t, "file", []byte("text"))
		if err := run(t.Context(), key.Ref, cert, file); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file + ".p7s")
		if err != nil {
			t.Fatal(err)
		}
		message, err := pkcs7.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AddCert(ca.Root())
		message.Content = []byte("text")
		if err := message.VerifyWithChain(pool); err != nil {
			t.Error(err)
		}
		guesttest.OpenSSL(t, "cms", "-verify", "-binary", "-inform", "DER", "-in", file+".p7s", "-content", file, "-CAfile", root, "-purpose", "any")

		opened := key.Open(t, cert)
		own, err := cms.Sign(t.Context(), opened, []byte("text"), "", opened.Chain()[0].NotBefore)
		if err != nil {
			t.Fatal(err)
		}
		guesttest.OpenSSL(t, "cms", "-verify", "-binary", "-inform", "PEM", "-in", guesttest.File(t, "own.pem", own), "-CAfile", root, "-purpose", "any")

		sha1, err := pkcs7.NewSignedData([]byte("text"))
		if err != nil {
			t.Fatal(err)
		}
		if err := sha1.AddSigner(opened.Chain()[0], opened, pkcs7.SignerInfoConfig{}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("the default digest: %v", err)
		}
	})
}
