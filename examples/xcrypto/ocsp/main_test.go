package main

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/holdfast-dev/holdfast/examples/internal/guesttest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The response verifies with package ocsp and with OpenSSL.
func TestOCSP(t *testing.T) {
	guesttest.Each(t, func(t *testing.T, key guesttest.Key) {
		ca, caFile := root(t, key)
		issued := (&signertest.CA{Cert: ca, Key: key.Open(t, "")}).Issue(t, signertest.Key(t, "p256"), nil)
		file := guesttest.File(t, "cert.pem", signertest.CertPEM(issued))
		var out bytes.Buffer
		if err := run(t.Context(), key.Ref, caFile, file, &out); err != nil {
			t.Fatal(err)
		}
		if r, err := ocsp.ParseResponseForCert(out.Bytes(), issued, ca); err != nil || r.Status != ocsp.Good {
			t.Errorf("package ocsp: %v", err)
		}
		response := guesttest.File(t, "response.der", out.Bytes())
		if got := guesttest.OpenSSL(t, "ocsp", "-respin", response, "-CAfile", caFile, "-issuer", caFile, "-cert", file); !strings.Contains(got, "Response verify OK") || !strings.Contains(got, ": good") {
			t.Error(got)
		}
	})
}

// root makes the certificate of the CA.
func root(t *testing.T, key guesttest.Key) (*x509.Certificate, string) {
	t.Helper()
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public, key.Open(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, guesttest.File(t, "ca.pem", signertest.CertPEM(cert))
}
