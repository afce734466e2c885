package holdfast_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"filippo.io/mldsa"
	mldsax509 "filippo.io/mldsa/x509"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer"
)

// files are a key, its certificate and the CA of that, in a folder of their own.
type files struct {
	dir, key, cert, ca string
	password           string // of the key; "": it is not encrypted
	roots              *x509.CertPool
}

func (f files) remove() { os.RemoveAll(f.dir) }

func makeFiles() files {
	dir := must(os.MkdirTemp("", "holdfast-example-"))
	f := files{dir: dir, key: filepath.Join(dir, "key.pem"), cert: filepath.Join(dir, "cert.pem"), ca: filepath.Join(dir, "ca.pem"), roots: x509.NewCertPool()}
	caKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	ca := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "ca"}, KeyUsage: x509.KeyUsageCertSign,
		IsCA: true, BasicConstraintsValid: true,
	}, nil, caKey.Public(), caKey)
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	leaf := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "app"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"app.example"},
	}, ca, key.Public(), caKey)
	f.roots.AddCert(ca)
	write(f.ca, "CERTIFICATE", ca.Raw)
	write(f.cert, "CERTIFICATE", leaf.Raw)
	write(f.key, "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
	return f
}

// makeMLDSAKey makes a key without a certificate.
func makeMLDSAKey() files {
	dir := must(os.MkdirTemp("", "holdfast-example-"))
	f := files{dir: dir, key: filepath.Join(dir, "key.pem")}
	key := must(mldsa.GenerateKey(mldsa.MLDSA65()))
	write(f.key, "PRIVATE KEY", must(mldsax509.MarshalPKCS8PrivateKey(key)))
	return f
}

// makeEncryptedKey makes an encrypted key without a certificate, and a file with its
// password.
func makeEncryptedKey() files {
	dir := must(os.MkdirTemp("", "holdfast-example-"))
	f := files{dir: dir, key: filepath.Join(dir, "key.pem"), password: filepath.Join(dir, "password")}
	if err := os.WriteFile(f.password, []byte(rand.Text()+"\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	store := all.New()
	pin := must(store.PINSource(must(keystore.ParsePINSource("file:"+f.password)), keystore.Options{}))
	key := must(store.Generate(context.Background(), must(keystore.ParseRef(f.key)), keystore.KeySpec{Type: keystore.P256}, keystore.Options{PIN: pin}))
	if err := key.Close(); err != nil {
		log.Fatal(err)
	}
	return f
}

// issue makes a certificate. Without a parent it is self-signed.
func issue(template, parent *x509.Certificate, pub crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	template.SerialNumber = must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)))
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(24*time.Hour)
	if parent == nil {
		parent = template
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, parent, pub, by))))
}

func write(path, blockType string, der []byte) {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}), 0o600); err != nil {
		log.Fatal(err)
	}
}

// open is what the example "Open" shows.
func open() (signer.Signer, files) {
	f := makeFiles()
	id := must(keystore.ParseIdentity(f.cert, f.key))
	return must(all.New().OpenIdentity(context.Background(), id, keystore.Options{})), f
}

// aws is an emulator that trusts the CA of files.
type aws struct {
	*httptest.Server
	trustAnchor, profile, role string
}

func startEmulator(f files) aws {
	handler := must(emulator.New(emulator.Config{TrustAnchors: []emulator.TrustAnchor{{CertificateFiles: []string{f.ca}}}}))
	return aws{httptest.NewServer(handler), handler.TrustAnchorARNs()[0], handler.ProfileARNs()[0], handler.RoleARNs()[0]}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
