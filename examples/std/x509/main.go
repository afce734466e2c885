// Command x509 is a CA whose key is in a device. It makes its own certificate, signs the
// one of a certificate request, and an empty revocation list:
//
//	x509 request KEY NAME
//	x509 root KEY NAME
//	x509 issue CA-KEY CA-CERTIFICATE REQUEST
//	x509 crl CA-KEY CA-CERTIFICATE
//
// The commands of holdfast do more: "holdfast ca", "holdfast csr".
package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"os"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer"
)

func main() {
	if len(os.Args) < 4 {
		log.Fatal("usage: x509 request|root|issue|crl KEY ARGUMENT...")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3:], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, command, ref string, args []string, out io.Writer) error {
	r, err := keystore.ParseRef(ref)
	if err != nil {
		return err
	}
	key, err := all.New().Open(ctx, r, keystore.Options{LookupEnv: os.LookupEnv})
	if err != nil {
		return err
	}
	defer key.Close()
	var der []byte
	kind := "CERTIFICATE"
	switch command {
	case "request":
		kind = "CERTIFICATE REQUEST"
		der, err = request(key, args[0])
	case "root":
		der, err = root(key, args[0])
	case "crl":
		kind = "X509 CRL"
		der, err = crl(key, args[0])
	case "issue":
		if len(args) != 2 {
			return errors.New("usage: x509 issue CA-KEY CA-CERTIFICATE REQUEST")
		}
		der, err = issue(key, args[0], args[1])
	default:
		return errors.New("unknown command " + command)
	}
	if err != nil {
		return err
	}
	return pem.Encode(out, &pem.Block{Type: kind, Bytes: der})
}

func request(key signer.Signer, name string) ([]byte, error) {
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}, SignatureAlgorithm: algorithm(key)}
	return x509.CreateCertificateRequest(rand.Reader, template, key)
}

func root(key signer.Signer, name string) ([]byte, error) {
	template := newTemplate(key, name)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}

func issue(key signer.Signer, caFile, requestFile string) ([]byte, error) {
	ca, err := readCertificate(caFile)
	if err != nil {
		return nil, err
	}
	der, err := readPEM(requestFile, "CERTIFICATE REQUEST")
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, err
	}
	template := newTemplate(key, csr.Subject.CommonName)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	return x509.CreateCertificate(rand.Reader, template, ca, csr.PublicKey, key)
}

func crl(key signer.Signer, caFile string) ([]byte, error) {
	ca, err := readCertificate(caFile)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		SignatureAlgorithm: algorithm(key),
		Number:             big.NewInt(now.Unix()),
		ThisUpdate:         now,
		NextUpdate:         now.Add(24 * time.Hour),
	}, ca, key)
}

func newTemplate(key signer.Signer, name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:            pkix.Name{CommonName: name},
		NotBefore:          now.Add(-time.Minute),
		NotAfter:           now.Add(24 * time.Hour),
		SignatureAlgorithm: algorithm(key),
	}
}

// algorithm returns 0, with which crypto/x509 chooses PKCS #1 v1.5 for an RSA key, unless
// the key only makes signatures with PSS.
func algorithm(key signer.Signer) x509.SignatureAlgorithm {
	if l, ok := key.(signer.SchemeLimiter); ok {
		_, isRSA := key.Public().(*rsa.PublicKey)
		if isRSA && !slices.Contains(l.SignatureSchemes(), tls.PKCS1WithSHA256) {
			return x509.SHA256WithRSAPSS
		}
	}
	return 0
}

func readCertificate(file string) (*x509.Certificate, error) {
	der, err := readPEM(file, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func readPEM(file, kind string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		return nil, errors.New(file + " does not begin with a " + kind + " in PEM")
	}
	return block.Bytes, nil
}
