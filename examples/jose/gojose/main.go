// Command gojose signs standard input as a compact JWS of go-jose, with a key in a device:
//
//	gojose KEY
package main

import (
	"context"
	"crypto"
	"crypto/rsa"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: gojose KEY")
	}
	if err := run(context.Background(), os.Args[1], os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, ref string, in io.Reader, out io.Writer) error {
	r, err := keystore.ParseRef(ref)
	if err != nil {
		return err
	}
	key, err := all.New().Open(ctx, r, keystore.Options{LookupEnv: os.LookupEnv})
	if err != nil {
		return err
	}
	defer key.Close()
	payload, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	algorithm := jose.ES256
	if _, isRSA := key.Public().(*rsa.PublicKey); isRSA {
		algorithm = jose.PS256
	}
	text, err := sign(key, algorithm, payload)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, text)
	return err
}

// sign needs SaltByHash: cryptosigner asks for the longest salt of PS256, which a TPM does
// not make and RFC 7518, section 3.5, does not allow.
func sign(key crypto.Signer, algorithm jose.SignatureAlgorithm, payload []byte) (string, error) {
	opaque := cryptosigner.Opaque(signer.SaltByHash(key))
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: opaque}, nil)
	if err != nil {
		return "", err
	}
	object, err := s.Sign(payload)
	if err != nil {
		return "", err
	}
	return object.CompactSerialize()
}
