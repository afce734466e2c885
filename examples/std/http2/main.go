// Command http2 connects an HTTP/2 client with a certificate to a server; both sign with
// a key in a device:
//
//	http2 KEY CERTIFICATE ROOTS
//
// The certificate is for localhost, for servers and for clients.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: http2 KEY CERTIFICATE ROOTS")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, ref, certificate, rootsFile string, out io.Writer) error {
	id, err := keystore.ParseIdentity(certificate, ref)
	if err != nil {
		return err
	}
	key, err := all.New().OpenIdentity(ctx, id, keystore.Options{LookupEnv: os.LookupEnv})
	if err != nil {
		return err
	}
	defer key.Close()
	pem, err := os.ReadFile(rootsFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return errors.New("no certificates in " + rootsFile)
	}
	cert, err := signer.TLSCertificate(key)
	if err != nil {
		return err
	}

	server := newServer(cert, roots)
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return err
	}
	go server.ServeTLS(l, "", "") // the files are in TLSConfig
	defer server.Close()

	client := newClient(cert, roots)
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+l.Addr().String(), nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(out, response.Body)
	return err
}

func newServer(cert tls.Certificate, roots *x509.CertPool) *http.Server {
	return &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "hello %s, with %s\n", r.TLS.PeerCertificates[0].Subject.CommonName, r.Proto)
		}),
	}
}

// newClient returns a client that asks for HTTP/2, which a transport with a TLSClientConfig
// does only with ForceAttemptHTTP2.
func newClient(cert tls.Certificate, roots *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots},
		ForceAttemptHTTP2: true,
	}}
}
