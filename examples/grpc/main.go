// Command grpc connects a gRPC client to a server; both sign with a key in a device, and
// both verify each other:
//
//	grpc KEY CERTIFICATE ROOTS
//
// The certificate is for localhost, for servers and for clients. The service is the health
// check of gRPC.
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
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: grpc KEY CERTIFICATE ROOTS")
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

	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return err
	}
	server := newServer(cert, roots)
	go server.Serve(l)
	defer server.Stop()

	client, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{cert},
		RootCAs:      roots,
	})))
	if err != nil {
		return err
	}
	defer client.Close()
	answer, err := grpc_health_v1.NewHealthClient(client).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, answer.GetStatus())
	return err
}

func newServer(cert tls.Certificate, roots *x509.CertPool) *grpc.Server {
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    roots,
	})))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	return server
}
