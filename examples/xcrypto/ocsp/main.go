// Command ocsp signs an OCSP response with the key of a CA in a device: the certificate is
// good. It writes the response, in DER, to standard output:
//
//	ocsp CA-KEY CA-CERTIFICATE CERTIFICATE
package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"os"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: ocsp CA-KEY CA-CERTIFICATE CERTIFICATE")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, ref, caFile, file string, out io.Writer) error {
	r, err := keystore.ParseRef(ref)
	if err != nil {
		return err
	}
	key, err := all.New().Open(ctx, r, keystore.Options{LookupEnv: os.LookupEnv})
	if err != nil {
		return err
	}
	defer key.Close()
	ca, err := read(caFile)
	if err != nil {
		return err
	}
	cert, err := read(file)
	if err != nil {
		return err
	}
	response, err := good(key, ca, cert)
	if err != nil {
		return err
	}
	_, err = out.Write(response)
	return err
}

// good always signs with PKCS #1 v1.5 if the key is an RSA key: package ocsp knows no PSS.
func good(key crypto.Signer, ca, cert *x509.Certificate) ([]byte, error) {
	now := time.Now()
	return ocsp.CreateResponse(ca, ca, ocsp.Response{
		Status:       ocsp.Good,
		SerialNumber: cert.SerialNumber,
		ThisUpdate:   now,
		NextUpdate:   now.Add(time.Hour),
		IssuerHash:   crypto.SHA1, // of the name, not of the signature; what OpenSSL asks for
	}, key)
}

func read(file string) (*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New(file + " is not in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
