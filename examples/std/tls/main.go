// Command tls connects a TLS client to a server; both sign with a key in a device, and
// both verify each other:
//
//	tls KEY CERTIFICATE ROOTS
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
	"os"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: tls KEY CERTIFICATE ROOTS")
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

	server, err := serverConfig(key, roots)
	if err != nil {
		return err
	}
	client, err := clientConfig(key, roots)
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", "localhost:0", server)
	if err != nil {
		return err
	}
	defer l.Close()
	go greet(l)
	conn, err := (&tls.Dialer{Config: client}).DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	text, err := io.ReadAll(conn)
	fmt.Fprintf(out, "%s", text)
	return err
}

// serverConfig returns a configuration for a server that accepts only clients with a
// certificate of roots. TLSCertificate limits the handshake to what the key can do, such
// as no PSS in an old token. The key must stay open.
func serverConfig(key signer.Signer, roots *x509.CertPool) (*tls.Config, error) {
	cert, err := signer.TLSCertificate(key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots}, nil
}

func clientConfig(key signer.Signer, roots *x509.CertPool) (*tls.Config, error) {
	cert, err := signer.TLSCertificate(key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots}, nil
}

func greet(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			c := conn.(*tls.Conn)
			if err := c.Handshake(); err != nil {
				log.Print(err)
				return
			}
			state := c.ConnectionState()
			fmt.Fprintf(c, "hello %s, with %s\n", state.PeerCertificates[0].Subject.CommonName, tls.VersionName(state.Version))
		}()
	}
}
