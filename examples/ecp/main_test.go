package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/googleapis/enterprise-certificate-proxy/client"

	"github.com/holdfast-dev/holdfast/examples/internal/guesttest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestECP(t *testing.T) {
	program := build(t)
	guesttest.Each(t, func(t *testing.T, key guesttest.Key) {
		ca := signertest.NewCA(t, "root")
		cert, roots := key.Certify(t, ca, nil), guesttest.File(t, "roots.pem", signertest.CertPEM(ca.Root()))
		config := writeConfig(t, program, cert, key.Ref)
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			var out bytes.Buffer
			name := tls.VersionName(version)
			if err := run(t.Context(), config, serve(t, ca, version), roots, &out); err != nil || out.String() != "hello client, with "+name+"\n" {
				t.Errorf("%s: error %v, %q", name, err, &out)
			}
		}
		sign(t, config, key)
	})
}

// sign signs without TLS, which prefers PSS to PKCS #1 v1.5.
func sign(t *testing.T, config string, want guesttest.Key) {
	t.Helper()
	key, err := client.Cred(config)
	if err != nil {
		t.Fatal(err)
	}
	defer key.Close()
	digest := sha256.Sum256([]byte("message"))
	sig, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	switch pub := want.Public.(type) {
	case *rsa.PublicKey:
		if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig); err != nil {
			t.Error(err)
		}
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(pub, digest[:], sig) {
			t.Error("wrong signature")
		}
	}
	if _, err := key.Sign(rand.Reader, digest[:], nil); err == nil || !strings.Contains(err.Error(), "nil signature options") {
		t.Errorf("no options: %v", err)
	}
	if _, err := key.Encrypt(rand.Reader, digest[:], crypto.SHA256); err == nil || !strings.Contains(err.Error(), "holdfast-ecp only signs") {
		t.Errorf("encryption: %v", err)
	}
	if _, err := key.Decrypt(rand.Reader, digest[:], &rsa.OAEPOptions{Hash: crypto.SHA256}); err == nil || !strings.Contains(err.Error(), "holdfast-ecp only signs") {
		t.Errorf("decryption: %v", err)
	}
}

// The client reports that the process ended; the reason is on standard error.
func TestBadConfig(t *testing.T) {
	if _, err := client.Cred(writeConfig(t, build(t), "none.pem", "none.pem")); err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
		t.Error(err)
	}
}

func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "holdfast-ecp")
	cmd := exec.Command(signertest.Require(t, "go", "go"), "build", "-o", program, "./cmd/holdfast-ecp")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

func writeConfig(t *testing.T, program, certificate, key string) string {
	t.Helper()
	data, err := json.Marshal(map[string]any{
		"cert_configs": map[string]any{"holdfast": map[string]string{"certificate": certificate, "private_key": key}},
		"libs":         map[string]string{"ecp": program},
		"version":      1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return guesttest.File(t, "certificate_config.json", data)
}

// serve starts a server that demands a client certificate of ca and greets it, and
// returns its address.
func serve(t *testing.T, ca *signertest.CA, version uint16) string {
	t.Helper()
	key, clients := signertest.Key(t, "p256"), x509.NewCertPool()
	clients.AddCert(ca.Root())
	cert := ca.Issue(t, key, guesttest.ForLocalhost)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: chain(append([]*x509.Certificate{cert}, ca.Chain()...)), PrivateKey: key}},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients,
		MinVersion:   version,
		MaxVersion:   version,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go greet(conn)
		}
	}()
	return listener.Addr().String()
}

func greet(conn net.Conn) {
	defer conn.Close()
	c := conn.(*tls.Conn)
	if c.Handshake() == nil {
		c.Write([]byte("hello " + c.ConnectionState().PeerCertificates[0].Subject.CommonName))
	}
}

func chain(certs []*x509.Certificate) (der [][]byte) {
	for _, c := range certs {
		der = append(der, c.Raw)
	}
	return der
}
