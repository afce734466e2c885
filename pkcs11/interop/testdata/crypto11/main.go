// Command crypto11 creates keys on a token, or signs with keys on it, through
// the library crypto11. It is a separate module, so that Holdfast does not
// depend on the library.
//
//	crypto11 MODULE TOKEN PIN make RSA-LABEL EC-LABEL
//	crypto11 MODULE TOKEN PIN sign LABEL...
//
// The ID of a key is "id of " followed by its label. For each label, sign
// prints a JSON object on one line: the public key, a signature of "message"
// with SHA-256, and the certificate.
package main

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/ThalesGroup/crypto11"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) (err error) {
	ctx, err := crypto11.Configure(&crypto11.Config{Path: args[0], TokenLabel: args[1], Pin: args[2]})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ctx.Close()) }()
	verb, labels := args[3], args[4:]
	if verb == "make" {
		if _, err := ctx.GenerateRSAKeyPairWithLabel(id(labels[0]), []byte(labels[0]), 2048); err != nil {
			return err
		}
		_, err := ctx.GenerateECDSAKeyPairWithLabel(id(labels[1]), []byte(labels[1]), elliptic.P256())
		return err
	}
	for _, label := range labels {
		if err := sign(ctx, label); err != nil {
			return fmt.Errorf("%s: %w", label, err)
		}
	}
	return nil
}

func sign(ctx *crypto11.Context, label string) error {
	key, err := ctx.FindKeyPair(id(label), []byte(label))
	if err != nil || key == nil {
		return fmt.Errorf("found key %v, error %w", key, err)
	}
	cert, err := ctx.FindCertificate(id(label), []byte(label), nil)
	if err != nil || cert == nil {
		return fmt.Errorf("found certificate %v, error %w", cert, err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte("message"))
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string][]byte{"public": public, "signature": signature, "certificate": cert.Raw})
}

func id(label string) []byte { return []byte("id of " + label) }
