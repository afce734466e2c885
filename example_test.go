package holdfast_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"filippo.io/mldsa"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
)

// Open a key with its certificate by two references. Each may be a path, as
// here, or one such as pkcs11:token=ca;object=app or tpm:handle=0x81010002.
func Example_open() {
	ctx := context.Background()
	files := makeFiles()
	defer files.remove()

	id, err := keystore.ParseIdentity(files.cert, files.key)
	if err != nil {
		log.Fatal(err)
	}
	// Options.PIN is the function that gives PINs and passwords. Without it, a
	// key that needs one fails with signer.ErrPINRequired.
	key, err := all.New().OpenIdentity(ctx, id, keystore.Options{})
	if err != nil {
		log.Fatal(err, signer.Hint(err))
	}
	defer key.Close()

	fmt.Println(signer.DescribeKey(key.Public()), "of", key.Chain()[0].Subject)
	// Output: ECDSA P-256 of CN=app
}

// Sign a digest. A key is a [crypto.Signer], so everything that takes one takes
// it: [x509.CreateCertificateRequest], and libraries for JWT, CMS or SSH.
func Example_sign() {
	key, files := open()
	defer files.remove()
	defer key.Close()

	digest := sha256.Sum256([]byte("hello"))
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		log.Fatal(err)
	}
	err = key.Chain()[0].CheckSignature(x509.ECDSAWithSHA256, []byte("hello"), signature)
	fmt.Println("verified:", err == nil)
	// Output: verified: true
}

// Sign a message with an ML-DSA key. Such a key signs the message itself, not its hash.
// With Go 1.27 or later, crypto/mldsa verifies the signature as well.
func Example_mldsa() {
	files := makeMLDSAKey()
	defer files.remove()

	ref, err := keystore.ParseRef(files.key)
	if err != nil {
		log.Fatal(err)
	}
	key, err := all.New().Open(context.Background(), ref, keystore.Options{})
	if err != nil {
		log.Fatal(err, signer.Hint(err))
	}
	defer key.Close()

	signature, err := key.Sign(rand.Reader, []byte("hello"), crypto.Hash(0))
	if err != nil {
		log.Fatal(err)
	}
	err = mldsa.Verify(key.Public().(*mldsa.PublicKey), []byte("hello"), signature, nil)
	fmt.Println(signer.DescribeKey(key.Public()), "verified:", err == nil)
	// Output: ML-DSA-65 verified: true
}

// Open an encrypted key, with a password that is in another file.
func Example_password() {
	ctx := context.Background()
	files := makeEncryptedKey()
	defer files.remove()
	ref, err := keystore.ParseRef(files.key)
	if err != nil {
		log.Fatal(err)
	}

	store := all.New()
	_, err = store.Open(ctx, ref, keystore.Options{})
	fmt.Println(errors.Is(err, signer.ErrPINRequired), signer.Hint(err))

	source, err := keystore.ParsePINSource("file:" + files.password)
	if err != nil {
		log.Fatal(err)
	}
	pin, err := store.PINSource(source, keystore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	key, err := store.Open(ctx, ref, keystore.Options{PIN: pin})
	if err != nil {
		log.Fatal(err, signer.Hint(err))
	}
	defer key.Close()
	fmt.Println(signer.DescribeKey(key.Public()))
	// Output:
	// true give the password with Options.PIN
	// ECDSA P-256
}

// Serve TLS with a key that never leaves its device. A server that outlives its
// certificate takes both from package signer/rotate.
func Example_tls() {
	key, files := open()
	defer files.remove()
	defer key.Close()

	cert, err := signer.TLSCertificate(key)
	if err != nil {
		log.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go greet(l)

	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: files.roots, ServerName: "app.example"})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	greeting, err := io.ReadAll(conn)
	fmt.Println(string(greeting), err)
	// Output: hello <nil>
}

// Obtain AWS credentials. The emulator stands in for AWS here: without Endpoint
// the request goes to IAM Roles Anywhere.
func Example_credentials() {
	key, files := open()
	defer files.remove()
	defer key.Close()
	aws := startEmulator(files)
	defer aws.Close()

	client, err := rolesanywhere.New(rolesanywhere.Config{
		Signer:         key,
		TrustAnchorARN: aws.trustAnchor,
		ProfileARN:     aws.profile,
		RoleARN:        aws.role,
		Endpoint:       aws.URL,
	})
	if err != nil {
		log.Fatal(err)
	}
	c, err := client.Credentials(context.Background())
	if err != nil {
		log.Fatal(err, signer.Hint(err))
	}
	fmt.Println("account", c.AccountID, "for", time.Until(c.Expires).Round(time.Hour))
	// Output: account 111122223333 for 1h0m0s
}

// Keep credentials that are always valid. A Cache renews them ahead of need, and
// however many goroutines ask, one session is created.
func Example_cache() {
	key, files := open()
	defer files.remove()
	defer key.Close()
	aws := startEmulator(files)
	defer aws.Close()

	client, err := rolesanywhere.New(rolesanywhere.Config{
		Signer:         key,
		TrustAnchorARN: aws.trustAnchor,
		ProfileARN:     aws.profile,
		RoleARN:        aws.role,
		Endpoint:       aws.URL,
	})
	if err != nil {
		log.Fatal(err)
	}
	cache := &credentials.Cache{Source: client}
	for range 3 {
		if _, err := cache.Credentials(context.Background()); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("sessions:", cache.Status().Renewals)
	// Output: sessions: 1
}

func greet(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "hello")
		conn.Close()
	}
}
