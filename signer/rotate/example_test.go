package rotate_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/file"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

// A server that keeps running when its certificate is renewed. Run detects the
// new files by itself within some seconds. A program can also call
// RequestReload, for example on SIGHUP.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	issue(certFile, keyFile, "first")

	store := keystore.New(file.Backend{}) // or all.New() from keystore/all
	refs, err := keystore.ParseIdentity(certFile, keyFile)
	if err != nil {
		log.Fatal(err)
	}
	reloaded := make(chan struct{})
	ctx, stop := context.WithCancel(context.Background())
	id, err := rotate.New(ctx, rotate.Config{
		Open: func(ctx context.Context) (signer.Signer, error) {
			return store.OpenIdentity(ctx, refs, keystore.Options{})
		},
		Files:    store.Uses(refs.Certificate, refs.Key).Files,
		Reloaded: func(context.Context) { close(reloaded) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer id.Close()
	running := make(chan error, 1)
	go func() { running <- id.Run(ctx) }()

	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: id.GetCertificate})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go serve(l)
	showCertificate(l.Addr().String())

	issue(certFile, keyFile, "second")
	id.RequestReload()
	<-reloaded
	showCertificate(l.Addr().String())

	stop()
	fmt.Println("Run:", <-running)
	// Output:
	// CN=first
	// CN=second
	// Run: context canceled
}

func serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			fmt.Fprintln(c, "hello")
		}()
	}
}

func showCertificate(addr string) {
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, err := io.ReadAll(c); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.ConnectionState().PeerCertificates[0].Subject)
}

// issue writes a new key and a certificate for it.
func issue(certFile, keyFile, name string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		log.Fatal(err)
	}
	if err := errors.Join(
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600),
	); err != nil {
		log.Fatal(err)
	}
}
