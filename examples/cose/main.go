// Command cose signs standard input as a COSE_Sign1 message (RFC 9052) with a key in a
// device:
//
//	cose KEY
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/veraison/go-cose"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: cose KEY")
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
	data, err := sign(key, payload)
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	return err
}

// sign needs HashByLength: go-cose calls Sign of an ECDSA key with nil options.
func sign(key crypto.Signer, payload []byte) ([]byte, error) {
	algorithm, err := algorithmFor(key.Public())
	if err != nil {
		return nil, err
	}
	s, err := cose.NewSigner(algorithm, signer.HashByLength(key))
	if err != nil {
		return nil, err
	}
	headers := cose.Headers{Protected: cose.ProtectedHeader{cose.HeaderLabelAlgorithm: algorithm}}
	return cose.Sign1(rand.Reader, s, headers, payload, nil)
}

func algorithmFor(pub crypto.PublicKey) (cose.Algorithm, error) {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return cose.AlgorithmPS256, nil // go-cose has no PKCS #1 v1.5
	case *ecdsa.PublicKey:
		switch pub.Curve.Params().BitSize {
		case 256:
			return cose.AlgorithmES256, nil
		case 384:
			return cose.AlgorithmES384, nil
		case 521:
			return cose.AlgorithmES512, nil
		}
	}
	return 0, fmt.Errorf("%s: no algorithm of COSE", signer.DescribeKey(pub))
}
