// Command sigstore signs a file with a key in a device, as "cosign sign-blob" does, and
// prints the signature in base64:
//
//	sigstore KEY FILE
package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: sigstore KEY FILE")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, ref, file string, out io.Writer) error {
	r, err := keystore.ParseRef(ref)
	if err != nil {
		return err
	}
	key, err := all.New().Open(ctx, r, keystore.Options{LookupEnv: os.LookupEnv})
	if err != nil {
		return err
	}
	defer key.Close()
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	var s signature.Signer = deviceSigner{key, crypto.SHA256}
	sig, err := s.SignMessage(in)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, base64.StdEncoding.EncodeToString(sig))
	return err
}

// A deviceSigner is a signature.Signer with an RSA or ECDSA key in a device.
// signature.LoadSigner takes only the private keys of the standard library. As there,
// opts are the hash, or an *rsa.PSSOptions.
type deviceSigner struct {
	key  crypto.Signer
	opts crypto.SignerOpts
}

func (s deviceSigner) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return s.key.Public(), nil
}

func (s deviceSigner) SignMessage(message io.Reader, opts ...signature.SignOption) ([]byte, error) {
	digest, hash, err := signature.ComputeDigestForSigning(message, s.opts.HashFunc(), []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}, opts...)
	if err != nil {
		return nil, err
	}
	if hash != s.opts.HashFunc() {
		return nil, fmt.Errorf("a digest of %v was given, the signer is for %v", hash, s.opts.HashFunc())
	}
	return s.key.Sign(rand.Reader, digest, s.opts)
}
