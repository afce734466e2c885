// Command codesign signs a file with a key in a device: RSA-PSS over its SHA-256 digest,
// or ECDSA. It writes FILE.sig:
//
//	codesign KEY FILE
//
// The file itself never goes to the device, so it can have any size.
package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: codesign KEY FILE")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, ref, file string) error {
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
	sig, err := sign(key, in)
	if err != nil {
		return fmt.Errorf("sign %s: %w", file, err)
	}
	return os.WriteFile(file+".sig", sig, 0o644)
}

// sign asks for a salt as long as the hash: every device with PSS can make that one.
func sign(key crypto.Signer, in io.Reader) ([]byte, error) {
	h := sha256.New()
	if _, err := io.Copy(h, in); err != nil {
		return nil, err
	}
	var opts crypto.SignerOpts = crypto.SHA256
	if _, isRSA := key.Public().(*rsa.PublicKey); isRSA {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	}
	return key.Sign(rand.Reader, h.Sum(nil), opts)
}
