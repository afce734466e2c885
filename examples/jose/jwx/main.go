// Command jwx prints a token of lestrrat-go/jwx that a key in a device signs:
//
//	jwx KEY SUBJECT
package main

import (
	"context"
	"crypto"
	"crypto/rsa"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: jwx KEY SUBJECT")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, ref, subject string, out io.Writer) error {
	r, err := keystore.ParseRef(ref)
	if err != nil {
		return err
	}
	key, err := all.New().Open(ctx, r, keystore.Options{LookupEnv: os.LookupEnv})
	if err != nil {
		return err
	}
	defer key.Close()
	algorithm := jwa.ES256()
	if _, isRSA := key.Public().(*rsa.PublicKey); isRSA {
		algorithm = jwa.PS256()
	}
	text, err := sign(key, algorithm, subject)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", text)
	return err
}

// sign passes the key as it is: jwx takes a crypto.Signer.
func sign(key crypto.Signer, algorithm jwa.SignatureAlgorithm, subject string) ([]byte, error) {
	token, err := jwt.NewBuilder().Subject(subject).Expiration(time.Now().Add(time.Hour)).Build()
	if err != nil {
		return nil, err
	}
	return jwt.Sign(token, jwt.WithKey(algorithm, key))
}
