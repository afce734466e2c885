package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/examples/internal/guesttest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestTLS(t *testing.T) {
	guesttest.Each(t, func(t *testing.T, key guesttest.Key) {
		ca := signertest.NewCA(t, "root")
		cert, roots := key.Certify(t, ca, guesttest.ForLocalhost), guesttest.File(t, "roots.pem", signertest.CertPEM(ca.Root()))
		var out bytes.Buffer
		if err := run(t.Context(), key.Ref, cert, roots, &out); err != nil || !strings.HasPrefix(out.String(), "hello client, with TLS 1.3") {
			t.Errorf("error %v, %q", err, &out)
		}
	})
}

// OpenSSL is the client, with each version of TLS.
func TestOpenSSLClient(t *testing.T) {
	guesttest.Each(t, func(t *testing.T, key guesttest.Key) {
		ca := signertest.NewCA(t, "root")
		cert, roots := key.Certify(t, ca, guesttest.ForLocalhost), guesttest.File(t, "roots.pem", signertest.CertPEM(ca.Root()))
		s := key.Open(t, cert)
		pool := x509.NewCertPool()
		pool.AddCert(ca.Root())
		config, err := serverConfig(s, pool)
		if err != nil {
			t.Fatal(err)
		}
		config.ClientAuth = tls.NoClientCert
		l, err := tls.Listen("tcp", "localhost:0", config)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					_, _ = io.WriteString(conn, "hello\n")
				}()
			}
		}()
		for _, version := range []string{"-tls1_2", "-tls1_3"} {
			out := guesttest.OpenSSL(t, "s_client", version, "-connect", l.Addr().String(), "-CAfile", roots, "-verify_return_error", "-verify_hostname", "localhost", "-ign_eof")
			if !strings.Contains(out, "Verification: OK") || !strings.Contains(out, "hello") {
				t.Errorf("%s: %s", version, out)
			}
		}
	})
}
