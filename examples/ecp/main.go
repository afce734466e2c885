// Command ecp connects to a TLS server with the client certificate that Google's client
// for Enterprise Certificate Proxies gets, as the client libraries of Google Cloud do:
//
//	ecp CONFIG HOST:PORT ROOTS
//
// CONFIG is a certificate_config.json in which libs.ecp is holdfast-ecp.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/googleapis/enterprise-certificate-proxy/client"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: ecp CONFIG HOST:PORT ROOTS")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, config, address, rootsFile string, out io.Writer) error {
	pem, err := os.ReadFile(rootsFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return errors.New("no certificates in " + rootsFile)
	}
	key, err := client.Cred(config) // starts holdfast-ecp
	if err != nil {
		return err
	}
	defer key.Close() // kills it

	dialer := tls.Dialer{Config: &tls.Config{
		RootCAs:      roots,
		Certificates: []tls.Certificate{{Certificate: key.CertificateChain(), PrivateKey: key}},
	}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.Copy(out, conn)
	if err == nil {
		_, err = fmt.Fprintln(out, ", with", tls.VersionName(conn.(*tls.Conn).ConnectionState().Version))
	}
	return err
}
